// Elementwise kernels for host accumulators: accumulation and conversion, in the rounding of update.h.
#pragma once

#include "types.h"

namespace tierra::optim {

/// into[i] = fma(T(scale), T(from[i]), into[i]) in `into`'s type T, which is float32 or float64. A NaN is stored canonically.
void accumulate(void* into, DType intoType, const void* from, DType fromType, std::size_t count, double scale = 1.0,
                Path path = Path::automatic);

/// to[i] = from[i], converted as update.h says. Equal types are copied byte for byte.
void cast(void* to, DType toType, const void* from, DType fromType, std::size_t count, Path path = Path::automatic);

class Pool;

void parallelAccumulate(Pool& pool, void* into, DType intoType, const void* from, DType fromType, std::size_t count,
                        double scale = 1.0, Path path = Path::automatic);
void parallelCast(Pool& pool, void* to, DType toType, const void* from, DType fromType, std::size_t count,
                  Path path = Path::automatic);

}  // namespace tierra::optim
