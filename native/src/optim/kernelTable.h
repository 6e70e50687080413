// What one path implements. Arguments are already checked and the thread is in IeeeMode.
#pragma once

#include "norms.h"
#include "update.h"

namespace tierra::optim {

struct KernelTable {
  void (*update)(Rule rule, const UpdateGroup& group, double gradientScale, const UpdateBuffers& buffers);
  /// The sum of one block: at most `normBlock` elements.
  double (*sumSquaresBlock)(const void* data, DType type, std::size_t count);
  void (*accumulate)(void* into, DType intoType, const void* from, DType fromType, std::size_t count, double scale);
  /// Types differ.
  void (*cast)(void* to, DType toType, const void* from, DType fromType, std::size_t count);
};

extern const KernelTable scalarKernels;
#if defined(__x86_64__)
extern const KernelTable avx2Kernels;
extern const KernelTable avx512Kernels;
#elif defined(__aarch64__)
extern const KernelTable neonKernels;
#endif

/// Throws std::invalid_argument when this machine cannot run `path`.
const KernelTable& kernelsOf(Path path);

}  // namespace tierra::optim
