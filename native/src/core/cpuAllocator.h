// libtorch's CPU memory, counted and capped: the budget on a machine without GPU is kept here.
//
// Blocks are cached by exact block size, so a steady training loop asks the system for nothing. Block sizes depend on
// the size asked for alone, so the counts of a run repeat exactly.
#pragma once

#include <cstdint>
#include <optional>

namespace tierra::cpuAllocator {

// In bytes of whole blocks, their 64-byte headers included.
struct Stats {
  int64_t allocated = 0;
  int64_t peak = 0;
  int64_t reserved = 0;
  int64_t systemAllocations = 0;
};

// Puts it in libtorch's place for the whole process; later calls do nothing.
void install();

Stats stats();
void resetPeak();
// Holds for allocated bytes; the cache gives way first, so reserved bytes stay under it as well.
void setCap(std::optional<int64_t> bytes);
// Gives every cached block back to the system.
void emptyCache();

}  // namespace tierra::cpuAllocator
