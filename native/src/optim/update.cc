#include "update.h"

#include <algorithm>
#include <stdexcept>
#include <type_traits>

#include "ieeeMode.h"
#include "kernelTable.h"
#include "pool.h"

namespace tierra::optim {
namespace {

// 64 KiB of fp32 per array: large enough to hide the hand-out, small enough to even out slow threads.
constexpr std::size_t updateBlock = 16384;

// New state that nobody keeps, of so many elements: the three arrays stay in a core's first cache.
constexpr std::size_t previewBlock = 1024;

// State of this size no longer stays in a cache until its next use.
constexpr std::size_t cacheBytes = std::size_t{32} << 20;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

void checkBuffers(Rule rule, const UpdateGroup& group, const UpdateBuffers& b) {
  require(isKnown(b.gradientType) && isKnown(b.parameterType), "update: unknown element type");
  require(b.stateType == DType::float32 || b.stateType == DType::float64, "update: state is float32 or float64");
  if (b.count == 0) return;
  require(b.gradient != nullptr, "update: no gradient");
  require(b.master != nullptr && b.masterOut != nullptr, "update: no master weights");
  require(!usesFirstMoment(rule, group) || (b.m != nullptr && b.mOut != nullptr), "update: no first moment");
  require(!usesSecondMoment(rule) || (b.v != nullptr && b.vOut != nullptr), "update: no second moment");
}

template <class Pointer>
Pointer* advance(Pointer* p, std::size_t bytes) {
  using Byte = std::conditional_t<std::is_const_v<Pointer>, const char, char>;
  return p == nullptr ? nullptr : static_cast<Byte*>(p) + bytes;
}

}  // namespace

bool usesFirstMoment(Rule rule, const UpdateGroup& group) { return rule != Rule::sgd || group.momentum != 0; }
bool usesSecondMoment(Rule rule) { return rule == Rule::adamw; }

UpdateBuffers slice(const UpdateBuffers& whole, std::size_t first, std::size_t count) {
  const std::size_t state = first * elementBytes(whole.stateType);
  UpdateBuffers part = whole;
  part.gradient = advance(whole.gradient, first * elementBytes(whole.gradientType));
  part.master = advance(whole.master, state);
  part.m = advance(whole.m, state);
  part.v = advance(whole.v, state);
  part.masterOut = advance(whole.masterOut, state);
  part.mOut = advance(whole.mOut, state);
  part.vOut = advance(whole.vOut, state);
  part.parameterOut = advance(whole.parameterOut, first * elementBytes(whole.parameterType));
  part.count = count;
  return part;
}

bool exceedsCache(const UpdateBuffers& buffers) {
  return buffers.count * elementBytes(buffers.stateType) * 3 > cacheBytes;
}

void update(Rule rule, const UpdateGroup& group, double gradientScale, const UpdateBuffers& buffers, Path path) {
  checkBuffers(rule, group, buffers);
  const KernelTable& kernels = kernelsOf(path);
  const IeeeMode mode;
  kernels.update(rule, group, gradientScale, buffers);
}

void parallelUpdate(Pool& pool, Rule rule, const UpdateGroup& group, double gradientScale,
                    const UpdateBuffers& buffers, Path path) {
  checkBuffers(rule, group, buffers);
  const KernelTable& kernels = kernelsOf(path);
  UpdateBuffers whole = buffers;
  whole.stream = buffers.stream || exceedsCache(buffers);
  pool.run((buffers.count + updateBlock - 1) / updateBlock, [&](std::size_t block) {
    const std::size_t first = block * updateBlock;
    const std::size_t count = std::min(updateBlock, buffers.count - first);
    const IeeeMode mode;
    kernels.update(rule, group, gradientScale, slice(whole, first, count));
  });
}

void parallelPreview(Pool& pool, Rule rule, const UpdateGroup& group, double gradientScale,
                     const UpdateBuffers& buffers, Path path) {
  UpdateBuffers whole = buffers;
  // In place, for the check and for `slice`: every piece gets scratch instead.
  whole.masterOut = const_cast<void*>(buffers.master);
  whole.mOut = const_cast<void*>(buffers.m);
  whole.vOut = const_cast<void*>(buffers.v);
  checkBuffers(rule, group, whole);
  require(buffers.count == 0 || buffers.parameterOut != nullptr, "preview: no place for the parameters");
  const KernelTable& kernels = kernelsOf(path);
  whole.stream = buffers.stream || exceedsCache(buffers);
  whole.scratchState = true;
  pool.run((buffers.count + updateBlock - 1) / updateBlock, [&](std::size_t block) {
    alignas(64) double scratch[3][previewBlock];
    const std::size_t end = std::min((block + 1) * updateBlock, buffers.count);
    const IeeeMode mode;
    for (std::size_t first = block * updateBlock; first < end; first += previewBlock) {
      UpdateBuffers part = slice(whole, first, std::min(previewBlock, end - first));
      part.masterOut = scratch[0];
      if (part.m != nullptr) part.mOut = scratch[1];
      if (part.v != nullptr) part.vOut = scratch[2];
      kernels.update(rule, group, gradientScale, part);
    }
  });
}

}  // namespace tierra::optim
