// Sixteen bytes of elements at a time, and sums over the threads that share a row, always in the same order.
#pragma once

#include "numbers.cuh"

template <class E>
struct alignas(16) Vector {
  static constexpr int count = 16 / sizeof(E);
  E x[count];
};

struct Sum {
  __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};
/// NaN is passed over.
struct Maximum {
  __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

/// What `Join` makes of the numbers of a row's threads, known to all of them. 1, 32 or 256 threads; all take part.
template <int rowThreads, class Join>
__device__ __forceinline__ float overRow(float x) {
  constexpr Join join{};
  if (rowThreads > 1) {
    for (int half = 16; half > 0; half /= 2) x = join(x, __shfl_down_sync(0xffffffffu, x, half));
    x = __shfl_sync(0xffffffffu, x, 0);
  }
  if (rowThreads > 32) {
    __shared__ float warps[32];
    __syncthreads();  // the last one has been read by all
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = warps[0];
    for (int warp = 1; warp < rowThreads / 32; ++warp) x = join(x, warps[warp]);
  }
  return x;
}

template <int rowThreads>
__device__ __forceinline__ float rowSum(float x) {
  return overRow<rowThreads, Sum>(x);
}

template <int rowThreads>
__device__ __forceinline__ float rowMaximum(float x) {
  return overRow<rowThreads, Maximum>(x);
}
