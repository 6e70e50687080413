// What the fused layers share: when a kernel of ours takes a tensor, and which of its versions.
#pragma once

#ifdef TIERRA_CUDA

#include <ATen/ATen.h>

#include <cstdint>

#include "core/table.h"
#include "cuda/launch.h"

namespace tierra::fused {

/// Versions of one kernel by element type.
struct Versions {
  cuda::Kernel bfloat16, half, float32;

  const cuda::Kernel& of(const at::Tensor& x) const {
    if (x.scalar_type() == at::kBFloat16) return bfloat16;
    return x.scalar_type() == at::kHalf ? half : float32;
  }
};

inline bool hasVersion(const at::Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf || x.scalar_type() == at::kFloat);
}

inline bool isAligned(const at::Tensor& x) { return reinterpret_cast<std::uintptr_t>(x.data_ptr()) % 16 == 0; }

/// Contiguous and on a 16-byte boundary, copied only if it has to be. Throws when its bytes have been taken away: a kernel
/// would read address zero.
inline at::Tensor packed(const at::Tensor& x) {
  requireBytes(x, "a fused layer");
  at::Tensor made = x.contiguous();
  return isAligned(made) ? made : made.clone();
}

inline int deviceOf(const at::Tensor& x) { return static_cast<int>(x.get_device()); }

}  // namespace tierra::fused

#endif
