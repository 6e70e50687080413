// The kernels' part of the addon: KernelBinding in src/native/binding.ts.
#pragma once

#include <node_api.h>

namespace tierra {

void registerKernels(napi_env env, napi_value exports);

}  // namespace tierra
