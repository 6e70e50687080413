#include "core/cpuAllocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <mutex>
#include <new>

#include "core/heap.h"
#include "core/outOfMemory.h"

namespace tierra::cpuAllocator {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kPage = 4096;
// From here on blocks end on pages.
constexpr size_t kWholePages = size_t{1} << 20;
// What is free is kept for the next time, up to this or the most that was ever live.
constexpr int64_t kLeastCacheLimit = int64_t{64} << 20;
// More than any machine has, and sums of it still fit.
constexpr size_t kLargestRequest = size_t{1} << 60;
constexpr uint8_t kPriority = 100;

// Before every block's bytes, keeping them on a cache line of their own.
struct alignas(kAlignment) Header {
  size_t blockBytes;
};

size_t roundUp(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

// Small blocks in eight steps per doubling, so that what one leaves another can take.
size_t blockBytesFor(size_t bytes) {
  const size_t whole = bytes + sizeof(Header);
  if (whole >= kWholePages) return roundUp(whole, kPage);
  return roundUp(whole, std::max(kAlignment, std::bit_floor(whole) / 8));
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
    if (stats_.reserved > cap_) release(stats_.reserved - cap_);
  }

  void emptyCache() {
    const std::lock_guard lock(mutex_);
    release(stats_.reserved);
  }

 private:
  static void giveBack(void* data);

  Header* take(size_t blockBytes) {
    const auto size = static_cast<int64_t>(blockBytes);
    const std::lock_guard lock(mutex_);
    if (stats_.allocated + size > cap_) refuse(size);
    char* data = heap_.takeCommitted(blockBytes);
    if (data == nullptr) data = grow(blockBytes);
    auto* block = reinterpret_cast<Header*>(data);
    block->blockBytes = blockBytes;
    stats_.allocated += size;
    stats_.peak = std::max(stats_.peak, stats_.allocated);
    mostLive_ = std::max(mostLive_, stats_.allocated);
    return block;
  }

  char* grow(size_t blockBytes) {
    const int64_t over = stats_.reserved + static_cast<int64_t>(roundUp(blockBytes, kPage)) - cap_;
    if (over > 0) release(over);
    const Heap::Taken taken = heap_.takeGrowing(blockBytes);
    if (taken.data == nullptr) refusedBySystem(blockBytes);
    stats_.reserved += static_cast<int64_t>(taken.grown);
    ++stats_.systemAllocations;
    return taken.data;
  }

  void put(Header* block) noexcept {
    const std::lock_guard lock(mutex_);
    const size_t blockBytes = block->blockBytes;
    stats_.allocated -= static_cast<int64_t>(blockBytes);
    try {
      heap_.give(reinterpret_cast<char*>(block), blockBytes);
      const int64_t spare = stats_.reserved - stats_.allocated - std::max(kLeastCacheLimit, mostLive_);
      const int64_t over = std::max(spare, stats_.reserved - cap_);
      if (over > 0) release(over);
    } catch (const std::bad_alloc&) {
      // No memory for the books: the range is lost, which is less than what the process is about to lose.
    }
  }

  void release(int64_t bytes) { stats_.reserved -= static_cast<int64_t>(heap_.release(static_cast<size_t>(bytes))); }

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
  Heap heap_;
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
