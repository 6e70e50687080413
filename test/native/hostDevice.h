// What the kernels use of CUDA, spelled out for the host, in namespace `device`, which the kernels are included into. One
// thread runs at a time: what threads say to one another is only checked on a GPU.
#pragma once

#include <cmath>
#include <cstring>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __grid_constant__
#define __shared__ thread_local

namespace device {

template <class To, class From>
To bitsOf(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __uint_as_float(unsigned x) { return bitsOf<float>(x); }
inline unsigned __float_as_uint(float x) { return bitsOf<unsigned>(x); }
inline double __longlong_as_double(long long x) { return bitsOf<double>(x); }
inline long long __double_as_longlong(double x) { return bitsOf<long long>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }

struct uint4 {
  unsigned x, y, z, w;
};

struct Index {
  unsigned x;
};
static Index blockIdx, threadIdx;
inline void __syncthreads() {}
inline void __syncwarp() {}
template <class T>
T __shfl_down_sync(unsigned, T x, int) { return x; }
template <class T>
T __shfl_sync(unsigned, T x, int) { return x; }
inline void atomicAdd(unsigned long long* to, unsigned long long x) { *to += x; }

}  // namespace device
