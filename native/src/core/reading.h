// Numbers on their way from the device.
#pragma once

#include <node_api.h>

namespace tierra {

void registerReading(napi_env env, napi_value exports);

}  // namespace tierra
