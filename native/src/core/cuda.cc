#include "core/cuda.h"

#include "core/error.h"

#ifdef TIERRA_CUDA

#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <map>
#include <mutex>

namespace tierra::cuda {

namespace {

namespace caching = c10::cuda::CUDACachingAllocator;

c10::DeviceIndex ready(int device) {
  const int count = deviceCount();
  if (device < 0 || device >= count) {
    fail("E_ARGUMENT", "there is no cuda:" + std::to_string(device) + ", this machine has " + std::to_string(count) +
                           " CUDA devices that this build can use");
  }
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  return static_cast<c10::DeviceIndex>(device);
}

/// Bytes that libtorch does not count, and the highest sum before that number changed last.
struct Held {
  int64_t bytes = 0;
  int64_t peakBefore = 0;
};

Held& held(int device) {
  static std::mutex mutex;
  static std::map<int, Held> all;
  const std::lock_guard lock(mutex);
  return all[device];
}

int64_t peakOf(const Held& held, const c10::CachingDeviceAllocator::DeviceStats& found) {
  return std::max(held.peakBefore, found.allocated_bytes[0].peak + held.bytes);
}

}  // namespace

int deviceCount() noexcept { return c10::cuda::device_count(); }

Properties properties(int device) {
  const c10::cuda::CUDAGuard guard(ready(device));
  cudaDeviceProp found{};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&found, device));
  Properties out{found.name, 0, 0, found.major, found.minor, found.multiProcessorCount};
  C10_CUDA_CHECK(cudaMemGetInfo(&out.freeBytes, &out.totalBytes));
  return out;
}

MemoryStats stats(int device) {
  const auto found = caching::getDeviceStats(ready(device));
  constexpr size_t all = 0;  // StatType::AGGREGATE
  const Held& beside = held(device);
  return {found.allocated_bytes[all].current + beside.bytes, peakOf(beside, found), found.reserved_bytes[all].current,
          found.num_device_alloc};
}

void resetPeak(int device) {
  held(device).peakBefore = 0;
  caching::resetPeakStats(ready(device));
}

void holdMemory(int device, int64_t bytes) {
  Held& beside = held(device);
  beside.peakBefore = peakOf(beside, caching::getDeviceStats(ready(device)));
  beside.bytes += bytes;
  caching::resetPeakStats(ready(device));
}

void setCap(int device, std::optional<int64_t> bytes) {
  const double total = static_cast<double>(properties(device).totalBytes);
  const double fraction = bytes.has_value() ? std::min(1.0, static_cast<double>(*bytes) / total) : 1.0;
  caching::setMemoryFraction(fraction, ready(device));
}

void emptyCache() {
  if (deviceCount() > 0) caching::emptyCache();
}

void synchronize(int device) {
  const c10::cuda::CUDAGuard guard(ready(device));
  c10::cuda::device_synchronize();
}

}  // namespace tierra::cuda

#else

namespace tierra::cuda {

namespace {

[[noreturn]] void missing() {
  fail("E_UNSUPPORTED", "this build of the addon has no CUDA",
       "Install a torch with CUDA and run `npx tierra setup` again.");
}

}  // namespace

int deviceCount() noexcept { return 0; }
Properties properties(int) { missing(); }
MemoryStats stats(int) { missing(); }
void resetPeak(int) { missing(); }
void holdMemory(int, int64_t) { missing(); }
void setCap(int, std::optional<int64_t>) { missing(); }
void emptyCache() {}
void synchronize(int) { missing(); }

}  // namespace tierra::cuda

#endif
