#include "compressed.h"

#include <algorithm>
#include <stdexcept>

#include "compressedKernel.h"
#include "ieeeMode.h"
#include "pool.h"

namespace tierra::optim {
namespace {

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

bool isWhole(const CompressedState& s) {
  return s.weight != nullptr && s.m != nullptr && s.root != nullptr && s.mScales != nullptr && s.rootScales != nullptr;
}

void checkBuffers(const CompressedBuffers& b) {
  require(b.gradientType == DType::bfloat16 || b.gradientType == DType::float32,
          "compressed update: gradients are bfloat16 or float32");
  require(b.weightType == DType::bfloat16 || b.weightType == DType::float32,
          "compressed update: weights are bfloat16 or float32");
  const bool split = b.weightType == DType::bfloat16;
  require(split == (b.from.low != nullptr) && split == (b.to.low != nullptr),
          "compressed update: bfloat16 weights have a low part, float32 ones have none");
  if (b.count == 0) return;
  require(b.gradient != nullptr && isWhole(b.from) && isWhole(b.to), "compressed update: a buffer is missing");
}

CompressedKernel kernelOf(Path path) {
  if (path == Path::automatic) path = automaticPath();
  require(isAvailable(path), "compressed update: this machine cannot run that path");
#if defined(__x86_64__)
  if (path == Path::avx512) return compressedAvx512;
  if (path == Path::avx2) return compressedAvx2;
#endif
  return compressedLoops;
}

CompressedState slice(const CompressedState& whole, std::size_t first, std::size_t weightBytes) {
  const std::size_t block = first / momentBlock;
  return {static_cast<char*>(whole.weight) + first * weightBytes,
          whole.low == nullptr ? nullptr : whole.low + first,
          whole.m + first,
          whole.root + first,
          whole.mScales + block,
          whole.rootScales + block};
}

// 16 Ki elements, as in update.cc.
constexpr std::size_t blocksPerPart = 64;

}  // namespace

CompressedBuffers slice(const CompressedBuffers& whole, std::size_t first, std::size_t count) {
  const std::size_t weightBytes = elementBytes(whole.weightType);
  CompressedBuffers part = whole;
  part.gradient = static_cast<const char*>(whole.gradient) + first * elementBytes(whole.gradientType);
  part.from = slice(whole.from, first, weightBytes);
  part.to = slice(whole.to, first, weightBytes);
  if (whole.weightOut != nullptr) part.weightOut = static_cast<char*>(whole.weightOut) + first * weightBytes;
  part.count = count;
  return part;
}

void updateCompressed(const UpdateGroup& group, double gradientScale, const CompressedBuffers& buffers, Path path) {
  checkBuffers(buffers);
  const CompressedKernel kernel = kernelOf(path);
  const IeeeMode mode;
  kernel(group, gradientScale, buffers);
}

void parallelUpdateCompressed(Pool& pool, const UpdateGroup& group, double gradientScale,
                              const CompressedBuffers& buffers, Path path) {
  checkBuffers(buffers);
  const CompressedKernel kernel = kernelOf(path);
  const std::size_t parts = (momentBlocks(buffers.count) + blocksPerPart - 1) / blocksPerPart;
  pool.run(parts, [&](std::size_t part) {
    const std::size_t first = part * blocksPerPart * momentBlock;
    const IeeeMode mode;
    kernel(group, gradientScale,
           slice(buffers, first, std::min(blocksPerPart * momentBlock, buffers.count - first)));
  });
}

}  // namespace tierra::optim
