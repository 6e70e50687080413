// The default generators.
#pragma once

#include <node_api.h>

namespace tierra {

void registerRandom(napi_env env, napi_value exports);

}  // namespace tierra
