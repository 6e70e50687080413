// Backward in two parts, for zero-bubble pipelines (Qi et al. 2023): gradients of a graph's inputs now, those of its
// weights later, without computing anything twice.
#pragma once

#include <node_api.h>

namespace tierra {

void registerSplitBackward(napi_env env, napi_value exports);

}  // namespace tierra
