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

void checkBuffers(const CompressedBuffers& b) {
  require(b.gradientType == DType::bfloat16 || b.gradientType == DType::float32,
          "compressed update: gradients are bfloat16 or float32");
  require(b.weightType == DType::bfloat16 || b.weightType == DType::float32,
          "compressed update: weights are bfloat16 or float32");
  require((b.weightType == DType::bfloat16) == (b.low != nullptr),
          "compressed update: bfloat16 weights have a low part, float32 ones have none");
  if (b.count == 0) return;
  require(b.gradient != nullptr && b.weight != nullptr && b.m != nullptr && b.root != nullptr && b.mScales != nullptr &&
              b.rootScales != nullptr,
          "compressed update: a buffer is missing");
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

CompressedBuffers slice(const CompressedBuffers& whole, std::size_t firstBlock, std::size_t count) {
  const std::size_t first = firstBlock * momentBlock;
  CompressedBuffers part = whole;
  part.gradient = static_cast<const char*>(whole.gradient) + first * elementBytes(whole.gradientType);
  part.weight = static_cast<char*>(whole.weight) + first * elementBytes(whole.weightType);
  if (whole.low != nullptr) part.low = whole.low + first;
  part.m = whole.m + first;
  part.root = whole.root + first;
  part.mScales = whole.mScales + firstBlock;
  part.rootScales = whole.rootScales + firstBlock;
  part.count = count;
  return part;
}

// 16 Ki elements, as in update.cc.
constexpr std::size_t blocksPerPart = 64;

}  // namespace

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
           slice(buffers, part * blocksPerPart, std::min(blocksPerPart * momentBlock, buffers.count - first)));
  });
}

}  // namespace tierra::optim
