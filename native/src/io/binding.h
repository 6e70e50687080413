// What JavaScript sees of swaps and fault points: src/native/binding.ts, SwapBinding.
#pragma once

#include <node_api.h>

namespace tierra {

void registerSwaps(napi_env env, napi_value exports);

}  // namespace tierra
