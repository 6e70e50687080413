// Groups of ranks, as JavaScript sees them.
#pragma once

#include <node_api.h>

namespace tierra::dist {

void registerDist(napi_env env, napi_value exports);

}  // namespace tierra::dist
