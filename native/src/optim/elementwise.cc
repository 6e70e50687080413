#include "elementwise.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "ieeeMode.h"
#include "kernelTable.h"
#include "pool.h"

namespace tierra::optim {
namespace {

constexpr std::size_t blockElements = 32768;

template <class Body>
void inBlocks(Pool& pool, std::size_t count, const Body& body) {
  pool.run((count + blockElements - 1) / blockElements, [&](std::size_t block) {
    const std::size_t first = block * blockElements;
    body(first, std::min(blockElements, count - first));
  });
}

void checkAccumulate(DType into, DType from) {
  if (into != DType::float32 && into != DType::float64) {
    throw std::invalid_argument("accumulate: the sum is float32 or float64");
  }
  if (!isKnown(from)) throw std::invalid_argument("accumulate: unknown element type");
}

void checkCast(DType to, DType from) {
  if (!isKnown(to) || !isKnown(from)) throw std::invalid_argument("cast: unknown element type");
}

}  // namespace

void accumulate(void* into, DType intoType, const void* from, DType fromType, std::size_t count, double scale,
                Path path) {
  checkAccumulate(intoType, fromType);
  const KernelTable& kernels = kernelsOf(path);
  const IeeeMode mode;
  kernels.accumulate(into, intoType, from, fromType, count, scale);
}

void cast(void* to, DType toType, const void* from, DType fromType, std::size_t count, Path path) {
  checkCast(toType, fromType);
  if (toType == fromType) {
    std::memmove(to, from, count * elementBytes(toType));
    return;
  }
  const KernelTable& kernels = kernelsOf(path);
  const IeeeMode mode;
  kernels.cast(to, toType, from, fromType, count);
}

void parallelAccumulate(Pool& pool, void* into, DType intoType, const void* from, DType fromType, std::size_t count,
                        double scale, Path path) {
  checkAccumulate(intoType, fromType);
  kernelsOf(path);  // refuses a path here, not on a worker
  inBlocks(pool, count, [&](std::size_t first, std::size_t elements) {
    accumulate(static_cast<char*>(into) + first * elementBytes(intoType), intoType,
               static_cast<const char*>(from) + first * elementBytes(fromType), fromType, elements, scale, path);
  });
}

void parallelCast(Pool& pool, void* to, DType toType, const void* from, DType fromType, std::size_t count, Path path) {
  checkCast(toType, fromType);
  kernelsOf(path);
  inBlocks(pool, count, [&](std::size_t first, std::size_t elements) {
    cast(static_cast<char*>(to) + first * elementBytes(toType), toType,
         static_cast<const char*>(from) + first * elementBytes(fromType), fromType, elements, path);
  });
}

}  // namespace tierra::optim
