// Device names and what is known of each device.
#pragma once

#include <c10/core/Device.h>
#include <node_api.h>

#include <string>

namespace tierra {

// "cpu", "cuda" (the first) or "cuda:1"; E_ARGUMENT for anything else.
c10::Device deviceNamed(const std::string& name);

void registerDevices(napi_env env, napi_value exports);

}  // namespace tierra
