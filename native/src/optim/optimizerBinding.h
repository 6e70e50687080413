// The optimizer's part of the addon: OptimizerBinding in src/native/binding.ts.
#pragma once

#include <node_api.h>

namespace tierra {

void registerOptimizer(napi_env env, napi_value exports);

}  // namespace tierra
