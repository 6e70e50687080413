// What JavaScript sees of arenas: src/native/binding.ts, ArenaBinding.
#pragma once

#include <node_api.h>

namespace tierra {

void registerArenas(napi_env env, napi_value exports);

}  // namespace tierra
