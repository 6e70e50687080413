// silu(gate) * up (Shazeer 2020), rounded where the composition of two operators rounds; backward makes silu again instead of
// keeping it.
#include "vectors.cuh"
#include "kernelArguments.h"
#include "fusedArguments.h"

template <class E>
__device__ __forceinline__ float rounded(float x) {
  return toFloat(Convert<E>::from(x));
}

__device__ __forceinline__ float sigmoid(float x) { return divide(1.0f, 1.0f + expf(-x)); }

template <class E>
__device__ __forceinline__ void forward(const SwigluArguments& k, long long at) {
  using V = Vector<E>;
  if (at * V::count >= k.count) return;
  const V gate = static_cast<const V*>(k.gate)[at];
  const V up = static_cast<const V*>(k.up)[at];
  V out;
#pragma unroll
  for (int i = 0; i < V::count; ++i) {
    const float g = toFloat(gate.x[i]);
    const float silu = rounded<E>(divide(g, 1.0f + expf(-g)));
    out.x[i] = Convert<E>::from(multiply(silu, toFloat(up.x[i])));
  }
  static_cast<V*>(k.out)[at] = out;
}

template <class E>
__device__ __forceinline__ void backward(const SwigluArguments& k, long long at) {
  using V = Vector<E>;
  if (at * V::count >= k.count) return;
  const V gate = static_cast<const V*>(k.gate)[at];
  const V up = static_cast<const V*>(k.up)[at];
  const V gradient = static_cast<const V*>(k.gradient)[at];
  V gateGradient, upGradient;
#pragma unroll
  for (int i = 0; i < V::count; ++i) {
    const float g = toFloat(gate.x[i]);
    const float d = toFloat(gradient.x[i]);
    const float silu = rounded<E>(divide(g, 1.0f + expf(-g)));
    upGradient.x[i] = Convert<E>::from(multiply(d, silu));
    const float inner = rounded<E>(multiply(d, toFloat(up.x[i])));
    const float s = sigmoid(g);
    gateGradient.x[i] = Convert<E>::from(inner * s * (1.0f + g * (1.0f - s)));
  }
  static_cast<V*>(k.gateGradient)[at] = gateGradient;
  static_cast<V*>(k.upGradient)[at] = upGradient;
}

#define TIERRA_SWIGLU(E)                                                                                              \
  extern "C" __global__ void __launch_bounds__(kernelThreads) swiglu##E(const __grid_constant__ SwigluArguments k) { \
    forward<E>(k, static_cast<long long>(blockIdx.x) * kernelThreads + threadIdx.x);                                  \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(kernelThreads)                                                         \
      swigluBackward##E(const __grid_constant__ SwigluArguments k) {                                                  \
    backward<E>(k, static_cast<long long>(blockIdx.x) * kernelThreads + threadIdx.x);                                 \
  }

TIERRA_SWIGLU(BFloat16)
TIERRA_SWIGLU(Half)
TIERRA_SWIGLU(float)
