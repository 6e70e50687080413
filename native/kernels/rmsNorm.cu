// Root-mean-square normalisation as src/nn/layers/norm.ts composes it: fp32 inside, rounded to the element type before the
// weight is applied. Backward needs x and one scale per row; the weight's gradient is summed in fp32, rows in a fixed order.
#include "vectors.cuh"
#include "kernelArguments.h"
#include "fusedArguments.h"

template <class E>
__device__ __forceinline__ float rounded(float x) {
  return toFloat(Convert<E>::from(x));
}

template <class E, int rowThreads>
__device__ __forceinline__ void forwardRow(const RmsNormArguments& k, long long row, int thread) {
  using V = Vector<E>;
  const int vectors = k.width / V::count;
  const V* const x = static_cast<const V*>(k.x) + row * vectors;
  const V* const weight = static_cast<const V*>(k.weight);
  V* const out = static_cast<V*>(k.out) + row * vectors;
  float sum = 0;
  for (int i = thread; i < vectors; i += rowThreads) {
    const V v = x[i];
#pragma unroll
    for (int j = 0; j < V::count; ++j) {
      const float value = toFloat(v.x[j]);
      sum = fused(value, value, sum);
    }
  }
  const float mean = divide(rowSum<rowThreads>(sum), static_cast<float>(k.width));
  const float scale = divide(1.0f, root(mean + k.epsilon));
  if (thread == 0) k.scales[row] = scale;
  for (int i = thread; i < vectors; i += rowThreads) {
    const V v = x[i];
    const V w = weight[i];
    V y;
#pragma unroll
    for (int j = 0; j < V::count; ++j) {
      y.x[j] = Convert<E>::from(multiply(rounded<E>(multiply(toFloat(v.x[j]), scale)), toFloat(w.x[j])));
    }
    out[i] = y;
  }
}

/// With n = x * scale and d = gradient * weight: d/dx = scale * (d - n * mean(d * n)), d/dweight = sum of gradient * n.
template <class E, int rowThreads>
__device__ __forceinline__ void backwardRow(const RmsNormArguments& k, long long row, int thread, float* weightSums) {
  using V = Vector<E>;
  const int vectors = k.width / V::count;
  const V* const x = static_cast<const V*>(k.x) + row * vectors;
  const V* const gradient = static_cast<const V*>(k.gradient) + row * vectors;
  const V* const weight = static_cast<const V*>(k.weight);
  V* const xGradient = static_cast<V*>(k.xGradient) + row * vectors;
  const float scale = k.scales[row];
  float sum = 0;
  for (int i = thread; i < vectors; i += rowThreads) {
    const V v = x[i], g = gradient[i], w = weight[i];
#pragma unroll
    for (int j = 0; j < V::count; ++j) {
      const float d = rounded<E>(multiply(toFloat(g.x[j]), toFloat(w.x[j])));
      sum = fused(d, multiply(toFloat(v.x[j]), scale), sum);
    }
  }
  const float mean = divide(rowSum<rowThreads>(sum), static_cast<float>(k.width));
  for (int i = thread; i < vectors; i += rowThreads) {
    const V v = x[i], g = gradient[i], w = weight[i];
    V dx;
#pragma unroll
    for (int j = 0; j < V::count; ++j) {
      const float n = multiply(toFloat(v.x[j]), scale);
      const float d = rounded<E>(multiply(toFloat(g.x[j]), toFloat(w.x[j])));
      dx.x[j] = Convert<E>::from(multiply(scale, fused(-n, mean, d)));
      // A thread always has the same columns: these sums are its own. Neighbours' lie in neighbouring banks.
      float& column = weightSums[j * vectors + i];
      column = fused(toFloat(g.x[j]), rounded<E>(n), column);
    }
    xGradient[i] = dx;
  }
}

template <class E, int rowThreads>
__device__ __forceinline__ void forward(const RmsNormArguments& k) {
  constexpr int groups = kernelThreads / rowThreads;
  const long long row = static_cast<long long>(blockIdx.x) * groups + threadIdx.x / rowThreads;
  if (row < k.rows) forwardRow<E, rowThreads>(k, row, threadIdx.x % rowThreads);
}

template <class E, int rowThreads>
__device__ __forceinline__ void backward(const RmsNormArguments& k, float* shared) {
  constexpr int groups = kernelThreads / rowThreads;
  const int group = threadIdx.x / rowThreads;
  const int thread = threadIdx.x % rowThreads;
  const int part = blockIdx.x * groups + group;
  float* const sums = shared + group * k.width;
  constexpr int count = Vector<E>::count;
  const int vectors = k.width / count;
  for (int i = thread; i < vectors; i += rowThreads) {
    for (int j = 0; j < count; ++j) sums[j * vectors + i] = 0;
  }
  for (long long row = part; row < k.rows; row += k.parts) backwardRow<E, rowThreads>(k, row, thread, sums);
  float* const partial = k.partial + static_cast<long long>(part) * k.width;
  for (int i = thread; i < vectors; i += rowThreads) {
    for (int j = 0; j < count; ++j) partial[i * count + j] = sums[j * vectors + i];
  }
}

/// A warp per share of the parts, a lane per column; the shares are then added in order.
template <class E>
__device__ __forceinline__ void addParts(const RmsNormArguments& k) {
  constexpr int warps = kernelThreads / 32;
  __shared__ float shares[warps][32];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int column = blockIdx.x * 32 + lane;
  float sum = 0;
  if (column < k.width) {
#pragma unroll 8
    for (int part = warp; part < k.parts; part += warps) sum += k.partial[static_cast<long long>(part) * k.width + column];
  }
  shares[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= k.width) return;
  sum = 0;
  for (int share = 0; share < warps; ++share) sum += shares[share][lane];
  static_cast<E*>(k.weightGradient)[column] = Convert<E>::from(sum);
}

#define TIERRA_RMS_NORM(E)                                                                                        \
  extern "C" __global__ void __launch_bounds__(kernelThreads) rmsNorm##E(const __grid_constant__ RmsNormArguments k) { \
    k.width <= narrowWidth ? forward<E, 32>(k) : forward<E, kernelThreads>(k);                                    \
  }                                                                                                               \
  extern "C" __global__ void __launch_bounds__(kernelThreads)                                                     \
      rmsNormBackward##E(const __grid_constant__ RmsNormArguments k) {                                            \
    extern __shared__ float sums[];                                                                               \
    k.width <= narrowWidth ? backward<E, 32>(k, sums) : backward<E, kernelThreads>(k, sums);                      \
  }                                                                                                               \
  extern "C" __global__ void __launch_bounds__(kernelThreads)                                                     \
      rmsNormWeightGradient##E(const __grid_constant__ RmsNormArguments k) {                                      \
    addParts<E>(k);                                                                                               \
  }

TIERRA_RMS_NORM(BFloat16)
TIERRA_RMS_NORM(Half)
TIERRA_RMS_NORM(float)
