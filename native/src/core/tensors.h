// Handles and what they name.
#pragma once

#include <node_api.h>

namespace tierra {

void registerTensors(napi_env env, napi_value exports);

}  // namespace tierra
