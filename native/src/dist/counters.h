// What a rank received, counted when a collective is called: payload at the collective's definition, whatever way a back
// end takes. Rings: g - 1 of g parts for all-gather and reduce-scatter, both for all-reduce; broadcast and reduce as a
// chain that ends at, or leads to, the root.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace tierra::dist {

enum class Kind { allReduce, allGather, reduceScatter, broadcast, reduce, allToAll, send, receive, barrier };

inline constexpr std::array<const char*, 9> kindNames = {"allReduce", "allGather", "reduceScatter", "broadcast", "reduce",
                                                         "allToAll",  "send",      "receive",       "barrier"};

struct Counter {
  std::atomic<std::uint64_t> calls{0}, elements{0}, bytes{0}, blockedNs{0};
};

using Counters = std::array<Counter, kindNames.size()>;

// Elements of part `index` of `total` split over `parts`: the first ones hold one more where it does not divide.
inline std::int64_t partSize(std::int64_t total, std::int64_t parts, std::int64_t index) {
  return total / parts + (index < total % parts ? 1 : 0);
}

inline std::int64_t partBegin(std::int64_t total, std::int64_t parts, std::int64_t index) {
  return total / parts * index + std::min(index, total % parts);
}

// Own part received from all others and summed, then all other parts received: over all ranks 2 (g - 1) S.
inline std::int64_t allReduceReceives(std::int64_t elements, int rank, int size) {
  const std::int64_t own = partSize(elements, size, rank);
  return (size - 1) * own + elements - own;
}

// The chain starts behind the root and ends at it: its first rank receives nothing, every other one all.
inline std::int64_t reduceReceives(std::int64_t elements, int rank, int size, int root) {
  return rank == (root + 1) % size ? 0 : elements;
}

}  // namespace tierra::dist
