// Rotary positions as src/nn/layers/rotary.ts composes them, product by product rounded to the element type; backward is the
// transposed rotation. A thread takes four elements of a row's first half and their partners of the second.
#include "numbers.cuh"
#include "kernelArguments.h"
#include "fusedArguments.h"

template <class E>
__device__ __forceinline__ float product(float a, E b) {
  return toFloat(Convert<E>::from(multiply(a, toFloat(b))));
}

template <class E, bool backward>
__device__ __forceinline__ void rotate(const RotaryArguments& k, long long item) {
  if (item >= k.items) return;
  const int fours = k.half / 4;
  const long long row = item / fours;
  const int at = static_cast<int>(item % fours) * 4;
  const long long position = row % k.length;
  const long long head = row / k.length % k.heads;
  const long long batch = row / k.length / k.heads;
  const E* const x = static_cast<const E*>(k.x) + batch * k.xStrides[0] + head * k.xStrides[1] + position * k.xStrides[2];
  E* const out = static_cast<E*>(k.out) + batch * k.outStrides[0] + head * k.outStrides[1] + position * k.outStrides[2];
  const auto four = [](const void* from, long long first) {
    return *reinterpret_cast<const Four<E>*>(static_cast<const E*>(from) + first);
  };
  const long long table = position * 2 * k.half + at;
  const Four<E> c1 = four(k.cos, table), c2 = four(k.cos, table + k.half);
  const Four<E> s1 = four(k.sin, table), s2 = four(k.sin, table + k.half);
  const Four<E> x1 = four(x, at), x2 = four(x, at + k.half);
  Four<E> y1, y2;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float a = toFloat(x1.x[i]);
    const float b = toFloat(x2.x[i]);
    const float first = backward ? product(b, s2.x[i]) : product(-b, s1.x[i]);
    const float second = backward ? product(-a, s1.x[i]) : product(a, s2.x[i]);
    y1.x[i] = Convert<E>::from(product(a, c1.x[i]) + first);
    y2.x[i] = Convert<E>::from(product(b, c2.x[i]) + second);
  }
  *reinterpret_cast<Four<E>*>(out + at) = y1;
  *reinterpret_cast<Four<E>*>(out + at + k.half) = y2;
}

#define TIERRA_ROTARY(E)                                                                                              \
  extern "C" __global__ void __launch_bounds__(kernelThreads) rotary##E(const __grid_constant__ RotaryArguments k) { \
    rotate<E, false>(k, static_cast<long long>(blockIdx.x) * kernelThreads + threadIdx.x);                            \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(kernelThreads)                                                         \
      rotaryBackward##E(const __grid_constant__ RotaryArguments k) {                                                  \
    rotate<E, true>(k, static_cast<long long>(blockIdx.x) * kernelThreads + threadIdx.x);                             \
  }

TIERRA_ROTARY(BFloat16)
TIERRA_ROTARY(Half)
TIERRA_ROTARY(float)
