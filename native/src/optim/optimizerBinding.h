// The optimizer's part of the addon: OptimizerBinding in src/native/binding.ts.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>
#include <string>

#include "optim/update.h"

namespace tierra {

namespace optim {
class Pool;
}

/// `UpdateGroup` of the binding, complete.
optim::UpdateGroup readUpdateGroup(napi_env env, napi_value group);
optim::Path readPath(const std::string& name);
/// The pool of that many threads that all optimizer calls share.
std::shared_ptr<optim::Pool> sharedPool(int64_t threads);

void registerOptimizer(napi_env env, napi_value exports);

}  // namespace tierra
