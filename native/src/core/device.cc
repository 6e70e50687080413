#include "core/device.h"

#include "core/cuda.h"
#include "core/error.h"
#include "core/js.h"

namespace tierra {

namespace {

napi_value deviceCount(napi_env env, napi_callback_info) { return js::number(env, cuda::deviceCount()); }

napi_value deviceInfo(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const cuda::Properties found = cuda::properties(static_cast<int>(args.integer(0, "index")));
  napi_value made = js::object(env);
  js::set(env, made, "name", js::text(env, found.name));
  js::set(env, made, "totalBytes", js::number(env, static_cast<double>(found.totalBytes)));
  js::set(env, made, "freeBytes", js::number(env, static_cast<double>(found.freeBytes)));
  const int64_t capability[] = {found.major, found.minor};
  js::set(env, made, "computeCapability", js::numbers(env, capability));
  js::set(env, made, "multiprocessors", js::number(env, found.multiprocessors));
  return made;
}

napi_value synchronize(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const c10::Device device = deviceNamed(args.text(0, "device"));
  if (device.is_cuda()) cuda::synchronize(device.index());
  return nullptr;
}

}  // namespace

c10::Device deviceNamed(const std::string& name) {
  try {
    c10::Device device(name);
    if (device.is_cuda() && !device.has_index()) device.set_index(0);
    if (device.is_cpu() || device.is_cuda()) return device;
  } catch (const c10::Error&) {
    // Refused below, in our own words.
  }
  fail("E_ARGUMENT", "there is no device \"" + name + "\"", "Devices are \"cpu\", \"cuda:0\", \"cuda:1\" and so on.");
}

void registerDevices(napi_env env, napi_value exports) {
  js::expose<deviceCount>(env, exports, "deviceCount");
  js::expose<deviceInfo>(env, exports, "deviceInfo");
  js::expose<synchronize>(env, exports, "synchronize");
}

}  // namespace tierra
