// The canonical squared norm, one order of additions on every device.
#pragma once

#include "types.h"

namespace tierra::optim {

/// Elements are cut into blocks of `normBlock`; the last may be shorter. Inside a block element i belongs to lane
/// i mod `normLanes`; each lane starts at +0 and does `lane = fma(x, x, lane)` in double, elements ascending. Lanes are then
/// added as a tree: for half = 16, 8, 4, 2, 1: lane[l] += lane[l + half] for l < half. lane[0] is the block's sum. Block sums
/// are added in ascending order, starting from +0. (On a GPU: a warp per block, one thread per lane.)
inline constexpr std::size_t normBlock = 4096;
inline constexpr std::size_t normLanes = 32;

struct SquaredNorm {
  double sum;             // NaN is stored as 0x7ff8000000000000
  std::size_t nonFinite;  // elements that are infinite or NaN
};

inline std::size_t normBlocks(std::size_t count) { return (count + normBlock - 1) / normBlock; }

SquaredNorm sumSquares(const void* data, DType type, std::size_t count, Path path = Path::automatic);

/// Writes one sum per block into `blockSums` (normBlocks(count) of them) and returns the count of non-finite elements:
/// for callers that compute blocks on several threads or devices.
std::size_t sumSquaresBlocks(const void* data, DType type, std::size_t count, double* blockSums,
                             Path path = Path::automatic);

/// Adds block sums in ascending order, continuing from `sum`.
double addBlockSums(const double* blockSums, std::size_t blocks, double sum = 0.0);

class Pool;

/// The same bits, blocks shared out over `pool`'s threads.
SquaredNorm parallelSumSquares(Pool& pool, const void* data, DType type, std::size_t count,
                               Path path = Path::automatic);

/// What the total is made of: each block's sum, and how many of its elements are infinite or NaN.
void parallelBlockSums(Pool& pool, const void* data, DType type, std::size_t count, double* blockSums,
                       std::uint32_t* blockInvalid, Path path = Path::automatic);

}  // namespace tierra::optim
