#include "core/cpuAllocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "core/outOfMemory.h"

namespace tierra::cpuAllocator {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kPage = 4096;
// From here on blocks are mappings of their own, which go back to the system whole.
constexpr size_t kMapped = size_t{1} << 20;
// A loop whose sizes never repeat would cache without end: beyond this, or the most that was ever live, all of it goes.
constexpr int64_t kLeastCacheLimit = int64_t{64} << 20;
// More than any machine has, and sums of it still fit.
constexpr size_t kLargestRequest = size_t{1} << 60;
constexpr uint8_t kPriority = 100;

// Before every block's bytes, keeping them on a cache line of their own.
struct alignas(kAlignment) Header {
  size_t blockBytes;
};

size_t roundUp(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

// Small blocks in eight steps per doubling, so that they meet again in few lists; mapped ones in pages.
size_t blockBytesFor(size_t bytes) {
  const size_t whole = bytes + sizeof(Header);
  if (whole >= kMapped) return roundUp(whole, kPage);
  return roundUp(whole, std::max(kAlignment, std::bit_floor(whole) / 8));
}

Header* fromSystem(size_t blockBytes) {
  if (blockBytes < kMapped) return static_cast<Header*>(std::aligned_alloc(kAlignment, blockBytes));
  void* mapped = mmap(nullptr, blockBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return mapped == MAP_FAILED ? nullptr : static_cast<Header*>(mapped);
}

void toSystem(Header* block) {
  if (block->blockBytes < kMapped) {
    std::free(block);
  } else {
    munmap(block, block->blockBytes);
  }
}

class Allocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, cpu};
    if (bytes > kLargestRequest) refusedBySystem(bytes);
    void* data = take(blockBytesFor(bytes)) + 1;
    return {data, data, &giveBack, cpu};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &giveBack; }

  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

  Stats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void resetPeak() {
    const std::lock_guard lock(mutex_);
    stats_.peak = stats_.allocated;
  }

  void setCap(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    cap_ = bytes;
    if (stats_.reserved > cap_) dropCache();
  }

  void emptyCache() {
    const std::lock_guard lock(mutex_);
    dropCache();
  }

 private:
  static void giveBack(void* data);

  Header* take(size_t blockBytes) {
    const auto size = static_cast<int64_t>(blockBytes);
    const std::lock_guard lock(mutex_);
    if (stats_.allocated + size > cap_) refuse(size);
    Header* block = fromCache(blockBytes);
    if (block == nullptr) block = reserve(blockBytes);
    stats_.allocated += size;
    stats_.peak = std::max(stats_.peak, stats_.allocated);
    mostLive_ = std::max(mostLive_, stats_.allocated);
    return block;
  }

  Header* fromCache(size_t blockBytes) {
    const auto found = cache_.find(blockBytes);
    if (found == cache_.end() || found->second.empty()) return nullptr;
    Header* block = found->second.back();
    found->second.pop_back();
    return block;
  }

  Header* reserve(size_t blockBytes) {
    const auto size = static_cast<int64_t>(blockBytes);
    if (stats_.reserved + size > cap_) dropCache();
    Header* block = fromSystem(blockBytes);
    if (block == nullptr) {
      dropCache();
      block = fromSystem(blockBytes);
    }
    if (block == nullptr) refusedBySystem(blockBytes);
    block->blockBytes = blockBytes;
    stats_.reserved += size;
    ++stats_.systemAllocations;
    return block;
  }

  void put(Header* block) noexcept {
    const std::lock_guard lock(mutex_);
    stats_.allocated -= static_cast<int64_t>(block->blockBytes);
    try {
      cache_[block->blockBytes].push_back(block);
    } catch (const std::bad_alloc&) {
      stats_.reserved -= static_cast<int64_t>(block->blockBytes);
      toSystem(block);
    }
    const int64_t cached = stats_.reserved - stats_.allocated;
    if (cached > std::max(kLeastCacheLimit, mostLive_) || stats_.reserved > cap_) dropCache();
  }

  void dropCache() noexcept {
    for (auto& [blockBytes, blocks] : cache_) {
      stats_.reserved -= static_cast<int64_t>(blockBytes * blocks.size());
      for (Header* block : blocks) toSystem(block);
    }
    cache_.clear();
  }

  [[noreturn]] void refusedBySystem(size_t bytes) const {
    throw c10::OutOfMemoryError(c10::SourceLocation{__func__, __FILE__, __LINE__},
                                "the system refused " + std::to_string(bytes) + " bytes on cpu, " +
                                    std::to_string(stats_.allocated) + " are in use");
  }

  [[noreturn]] void refuse(int64_t need) const { throw CapExceeded(need, cap_, stats_.allocated); }

  std::mutex mutex_;
  Stats stats_;
  int64_t cap_ = std::numeric_limits<int64_t>::max();
  int64_t mostLive_ = 0;
  std::unordered_map<size_t, std::vector<Header*>> cache_;
};

// Never destroyed: tensors in static storage are freed after our own statics would be.
Allocator& instance() {
  static Allocator* const allocator = new Allocator();
  return *allocator;
}

void Allocator::giveBack(void* data) {
  if (data != nullptr) instance().put(static_cast<Header*>(data) - 1);
}

}  // namespace

void install() {
  static std::once_flag once;
  std::call_once(once, [] { c10::SetCPUAllocator(&instance(), kPriority); });
}

Stats stats() { return instance().stats(); }
void resetPeak() { instance().resetPeak(); }
void setCap(std::optional<int64_t> bytes) { instance().setCap(bytes.value_or(std::numeric_limits<int64_t>::max())); }
void emptyCache() { instance().emptyCache(); }

}  // namespace tierra::cpuAllocator
