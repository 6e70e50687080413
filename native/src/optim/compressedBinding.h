// Updates on compressed states: part of OptimizerBinding in src/native/binding.ts.
#pragma once

#include <node_api.h>

namespace tierra {

void registerCompressed(napi_env env, napi_value exports);

}  // namespace tierra
