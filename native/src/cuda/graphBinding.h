// The graphs' part of the addon: GraphBinding in src/native/binding.ts.
#pragma once

#include <node_api.h>

namespace tierra {

void registerGraphs(napi_env env, napi_value exports);

}  // namespace tierra
