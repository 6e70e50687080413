#include "norms.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "ieeeMode.h"
#include "kernelTable.h"
#include "numbers.h"
#include "pool.h"

namespace tierra::optim {
namespace {

// Blocks a thread takes at a time: 64 Ki elements.
constexpr std::size_t blocksPerTask = 16;

std::size_t countNonFinite(const void* data, DType type, std::size_t count) {
  std::size_t found = 0;
  withType(type, [&](auto element) {
    const auto* x = static_cast<const decltype(element)*>(data);
    for (std::size_t i = 0; i < count; ++i) found += std::isfinite(Convert<double>::from(x[i])) ? 0 : 1;
  });
  return found;
}

std::size_t sumRange(const KernelTable& kernels, const void* data, DType type, std::size_t count, double* blockSums) {
  const IeeeMode mode;
  std::size_t nonFinite = 0;
  for (std::size_t first = 0; first < count; first += normBlock) {
    const std::size_t elements = std::min(normBlock, count - first);
    const void* block = static_cast<const char*>(data) + first * elementBytes(type);
    const double sum = kernels.sumSquaresBlock(block, type, elements);
    // A finite sum proves that every element is finite, so only the others are counted.
    if (!std::isfinite(sum)) nonFinite += countNonFinite(block, type, elements);
    blockSums[first / normBlock] = sum;
  }
  return nonFinite;
}

}  // namespace

std::size_t sumSquaresBlocks(const void* data, DType type, std::size_t count, double* blockSums, Path path) {
  if (!isKnown(type)) throw std::invalid_argument("sumSquares: unknown element type");
  return sumRange(kernelsOf(path), data, type, count, blockSums);
}

double addBlockSums(const double* blockSums, std::size_t blocks, double sum) {
  const IeeeMode mode;
  for (std::size_t block = 0; block < blocks; ++block) sum += blockSums[block];
  return canonical(sum);
}

SquaredNorm sumSquares(const void* data, DType type, std::size_t count, Path path) {
  std::vector<double> sums(normBlocks(count));
  const std::size_t nonFinite = sumSquaresBlocks(data, type, count, sums.data(), path);
  return {addBlockSums(sums.data(), sums.size()), nonFinite};
}

SquaredNorm parallelSumSquares(Pool& pool, const void* data, DType type, std::size_t count, Path path) {
  if (!isKnown(type)) throw std::invalid_argument("sumSquares: unknown element type");
  const KernelTable& kernels = kernelsOf(path);
  std::vector<double> sums(normBlocks(count));
  std::atomic<std::size_t> nonFinite{0};
  pool.run((sums.size() + blocksPerTask - 1) / blocksPerTask, [&](std::size_t task) {
    const std::size_t first = task * blocksPerTask * normBlock;
    const std::size_t elements = std::min(blocksPerTask * normBlock, count - first);
    const void* part = static_cast<const char*>(data) + first * elementBytes(type);
    nonFinite += sumRange(kernels, part, type, elements, sums.data() + task * blocksPerTask);
  });
  return {addBlockSums(sums.data(), sums.size()), nonFinite};
}

void parallelBlockSums(Pool& pool, const void* data, DType type, std::size_t count, double* blockSums,
                       std::uint32_t* blockInvalid, Path path) {
  if (!isKnown(type)) throw std::invalid_argument("sumSquares: unknown element type");
  const KernelTable& kernels = kernelsOf(path);
  const std::size_t blocks = normBlocks(count);
  pool.run((blocks + blocksPerTask - 1) / blocksPerTask, [&](std::size_t task) {
    const std::size_t end = std::min(blocks, (task + 1) * blocksPerTask);
    for (std::size_t block = task * blocksPerTask; block < end; ++block) {
      const std::size_t first = block * normBlock;
      const void* part = static_cast<const char*>(data) + first * elementBytes(type);
      const std::size_t elements = std::min(normBlock, count - first);
      blockInvalid[block] = static_cast<std::uint32_t>(sumRange(kernels, part, type, elements, blockSums + block));
    }
  });
}

}  // namespace tierra::optim
