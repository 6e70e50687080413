// What libtorch's allocators hold, and how much they may.
#pragma once

#include <node_api.h>

namespace tierra {

void registerMemory(napi_env env, napi_value exports);

}  // namespace tierra
