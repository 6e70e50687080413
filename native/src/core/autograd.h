// libtorch's autograd, as the tape uses it.
#pragma once

#include <node_api.h>

namespace tierra {

void registerAutograd(napi_env env, napi_value exports);

}  // namespace tierra
