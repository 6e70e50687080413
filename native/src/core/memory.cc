#include "core/memory.h"

#include "core/cpuAllocator.h"
#include "core/cuda.h"
#include "core/device.h"
#include "core/error.h"
#include "core/js.h"

namespace tierra {

namespace {

template <typename Stats>
napi_value statsObject(napi_env env, const Stats& found) {
  napi_value made = js::object(env);
  js::set(env, made, "allocatedBytes", js::number(env, static_cast<double>(found.allocated)));
  js::set(env, made, "peakBytes", js::number(env, static_cast<double>(found.peak)));
  js::set(env, made, "reservedBytes", js::number(env, static_cast<double>(found.reserved)));
  js::set(env, made, "systemAllocations", js::number(env, static_cast<double>(found.systemAllocations)));
  return made;
}

napi_value memoryStats(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const c10::Device device = deviceNamed(args.text(0, "device"));
  return device.is_cpu() ? statsObject(env, cpuAllocator::stats()) : statsObject(env, cuda::stats(device.index()));
}

napi_value resetPeakMemory(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const c10::Device device = deviceNamed(args.text(0, "device"));
  if (device.is_cpu()) {
    cpuAllocator::resetPeak();
  } else {
    cuda::resetPeak(device.index());
  }
  return nullptr;
}

napi_value setMemoryCap(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const c10::Device device = deviceNamed(args.text(0, "device"));
  std::optional<int64_t> bytes;
  if (!js::isNullish(env, args[1])) bytes = args.integer(1, "bytes");
  if (bytes.has_value() && *bytes < 0) fail("E_ARGUMENT", "a memory cap of " + std::to_string(*bytes) + " bytes");
  if (device.is_cpu()) {
    cpuAllocator::setCap(bytes);
  } else {
    cuda::setCap(device.index(), bytes);
  }
  return nullptr;
}

napi_value emptyCache(napi_env, napi_callback_info) {
  cpuAllocator::emptyCache();
  cuda::emptyCache();
  return nullptr;
}

}  // namespace

void registerMemory(napi_env env, napi_value exports) {
  cpuAllocator::install();
  js::expose<memoryStats>(env, exports, "memoryStats");
  js::expose<resetPeakMemory>(env, exports, "resetPeakMemory");
  js::expose<setMemoryCap>(env, exports, "setMemoryCap");
  js::expose<emptyCache>(env, exports, "emptyCache");
}

}  // namespace tierra
