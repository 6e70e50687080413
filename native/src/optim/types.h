// Element types and the choice of instruction set, shared by every kernel of the optimizer.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tierra::optim {

/// Numbered as libtorch numbers `c10::ScalarType`, so that codes pass through unchanged.
enum class DType : int { float16 = 5, float32 = 6, float64 = 7, bfloat16 = 15 };

inline bool isKnown(DType type) {
  return type == DType::float16 || type == DType::float32 || type == DType::float64 || type == DType::bfloat16;
}

inline std::size_t elementBytes(DType type) {
  return type == DType::float64 ? 8 : type == DType::float32 ? 4 : 2;
}

/// `automatic` is the best path of this machine, or what `TIERRA_SIMD` names.
enum class Path : int { automatic, scalar, avx2, avx512, neon };

/// Whether this build and this processor can run `path`.
bool isAvailable(Path path);

/// What `automatic` stands for. Throws std::invalid_argument when `TIERRA_SIMD` names a path that is unknown or not
/// available here. The variable is read once.
Path automaticPath();

const char* pathName(Path path);

}  // namespace tierra::optim
