// Graph recording, inference mode, threads, determinism.
#pragma once

#include <node_api.h>

namespace tierra {

void registerModes(napi_env env, napi_value exports);

}  // namespace tierra
