#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernelTable.h"

namespace tierra::optim {
namespace {

constexpr Path bestFirst[] = {Path::avx512, Path::avx2, Path::neon, Path::scalar};

Path choose() {
  const char* wanted = std::getenv("TIERRA_SIMD");
  for (Path path : bestFirst) {
    if (wanted == nullptr || *wanted == '\0') {
      if (isAvailable(path)) return path;
    } else if (std::strcmp(wanted, pathName(path)) == 0) {
      if (isAvailable(path)) return path;
      throw std::invalid_argument("TIERRA_SIMD=" + std::string(wanted) + ": this machine cannot run it");
    }
  }
  throw std::invalid_argument("TIERRA_SIMD=" + std::string(wanted) + ": expected scalar, avx2, avx512 or neon");
}

}  // namespace

bool isAvailable(Path path) {
  switch (path) {
    case Path::automatic:
    case Path::scalar: return true;
#if defined(__x86_64__)
    case Path::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    case Path::avx512:
      return isAvailable(Path::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#elif defined(__aarch64__)
    case Path::neon: return true;
#endif
    default: return false;
  }
}

Path automaticPath() {
  static const Path chosen = choose();
  return chosen;
}

const char* pathName(Path path) {
  switch (path) {
    case Path::automatic: return "automatic";
    case Path::scalar: return "scalar";
    case Path::avx2: return "avx2";
    case Path::avx512: return "avx512";
    case Path::neon: return "neon";
  }
  return "unknown";
}

const KernelTable& kernelsOf(Path path) {
  if (path == Path::automatic) path = automaticPath();
  if (!isAvailable(path)) {
    throw std::invalid_argument(std::string("this machine cannot run the ") + pathName(path) + " path");
  }
#if defined(__x86_64__)
  if (path == Path::avx512) return avx512Kernels;
  if (path == Path::avx2) return avx2Kernels;
#elif defined(__aarch64__)
  if (path == Path::neon) return neonKernels;
#endif
  return scalarKernels;
}

}  // namespace tierra::optim
