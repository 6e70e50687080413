// Accumulation and conversion, in the rounding of native/src/optim/update.h.
#include "numbers.cuh"
#include "kernelArguments.h"

/// Calls `four(at)` for every four that lies wholly in the range and is aligned, `one(at)` for all other elements.
template <class Fours, class Ones>
__device__ __forceinline__ void inFours(const ElementwiseArguments& k, unsigned block, int thread, Fours&& four,
                                        Ones&& one) {
  const long long first = static_cast<long long>(block) * blockElements + (k.head > 0 ? k.head - 4 : 0);
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const long long at = first + 4 * (j * kernelThreads + thread);
    if (k.head > 0 && at >= 0 && at + 4 <= k.count) {
      four(at);
    } else {
      for (long long i = at < 0 ? 0 : at; i < at + 4 && i < k.count; ++i) one(i);
    }
  }
}

template <class T>
__device__ __forceinline__ void accumulate(const ElementwiseArguments& k, unsigned block, int thread) {
  const T scale = static_cast<T>(k.scale);
  T* const to = static_cast<T*>(k.to);
  inFours(
      k, block, thread,
      [&](long long at) {
        T x[4], sum[4];
        loadFour(k.fromType, k.from, at, x);
        loadFour<T>(k.to, at, sum);
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[i] = fused(scale, x[i], sum[i]);
        storeFour<T>(k.to, at, sum);
      },
      [&](long long at) { to[at] = canonical(fused(scale, loadOne<T>(k.fromType, k.from, at), to[at])); });
}

template <class From>
__device__ __forceinline__ void cast(const ElementwiseArguments& k, unsigned block, int thread) {
  const From* const from = static_cast<const From*>(k.from);
  inFours(
      k, block, thread,
      [&](long long at) {
        const Four<From> x = *reinterpret_cast<const Four<From>*>(from + at);
        storeFour(k.toType, k.to, at, x.x);
      },
      [&](long long at) { storeOne(k.toType, k.to, at, from[at]); });
}

extern "C" __global__ void __launch_bounds__(kernelThreads) accumulateFloat(const ElementwiseArguments k) {
  accumulate<float>(k, blockIdx.x, threadIdx.x);
}

extern "C" __global__ void __launch_bounds__(kernelThreads) accumulateDouble(const ElementwiseArguments k) {
  accumulate<double>(k, blockIdx.x, threadIdx.x);
}

/// Types differ: equal ones are copied byte for byte.
extern "C" __global__ void __launch_bounds__(kernelThreads) castElements(const ElementwiseArguments k) {
  if (k.fromType == typeBFloat16) return cast<BFloat16>(k, blockIdx.x, threadIdx.x);
  if (k.fromType == typeFloat) return cast<float>(k, blockIdx.x, threadIdx.x);
  if (k.fromType == typeHalf) return cast<Half>(k, blockIdx.x, threadIdx.x);
  return cast<double>(k, blockIdx.x, threadIdx.x);
}
