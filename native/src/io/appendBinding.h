#pragma once

#include <node_api.h>

namespace tierra {

void registerAppendFiles(napi_env env, napi_value exports);

}  // namespace tierra
