// libtorch's CUDA side; without CUDA in the build every function but deviceCount throws E_UNSUPPORTED.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tierra::cuda {

struct MemoryStats {
  int64_t allocated = 0;
  int64_t peak = 0;
  int64_t reserved = 0;
  int64_t systemAllocations = 0;
};

struct Properties {
  std::string name;
  size_t totalBytes = 0;
  size_t freeBytes = 0;
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
};

int deviceCount() noexcept;
Properties properties(int device);
MemoryStats stats(int device);
void resetPeak(int device);
/// `bytes` more (or fewer) are in use than libtorch counts: the insides of graphs, which it takes for free. They count in `stats`.
void holdMemory(int device, int64_t bytes);
void setCap(int device, std::optional<int64_t> bytes);
void emptyCache();
void synchronize(int device);

}  // namespace tierra::cuda
