// Bytes in and out of tensors.
#pragma once

#include <node_api.h>

namespace tierra {

void registerBytes(napi_env env, napi_value exports);

}  // namespace tierra
