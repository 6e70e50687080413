// Cross entropy of rows of logits: a row's log-sum-exp and its label's logit in one pass (Milakov and Gimelshein 2018), and the
// gradient of the logits in another. A label of -100 counts for nothing; one outside the vocabulary makes the loss NaN.
#include "vectors.cuh"
#include "kernelArguments.h"
#include "fusedArguments.h"

constexpr long long ignoredLabel = -100;
constexpr float lowest = -3.402823466e38f;

/// The largest of some logits, and the sum of exp(x - largest) over them.
struct Running {
  float largest;
  float sum;
};

__device__ __forceinline__ void take(Running& running, float x) {
  if (x > running.largest) {
    running.sum = multiply(running.sum, expf(running.largest - x));
    running.largest = x;
  }
  running.sum += expf(x - running.largest);
}

template <int rowThreads>
__device__ __forceinline__ void forwardRow(const CrossEntropyArguments& k, long long row, int thread) {
  const float* const logits = k.logits + row * k.stride;
  Running running{lowest, 0};
  const int whole = k.vocabulary / 4;
  for (int i = thread; i < whole; i += rowThreads) {
    float four[4];
    loadFour<float>(logits, 4ll * i, four);
    const float largest = fmaxf(fmaxf(four[0], four[1]), fmaxf(four[2], four[3]));
    if (largest > running.largest) {
      running.sum = multiply(running.sum, expf(running.largest - largest));
      running.largest = largest;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) running.sum += expf(four[j] - running.largest);
  }
  for (int i = 4 * whole + thread; i < k.vocabulary; i += rowThreads) take(running, logits[i]);
  const float largest = rowMaximum<rowThreads>(running.largest);
  const float sum = rowSum<rowThreads>(multiply(running.sum, expf(running.largest - largest)));
  if (thread != 0) return;
  const long long label = k.labels[row];
  const bool isInside = label >= 0 && label < k.vocabulary;
  k.logSums[row] = largest + logf(sum);
  k.picked[row] = isInside ? logits[label] : label == ignoredLabel ? 0.0f : canonical(__uint_as_float(0x7fc00000u));
}

/// (softmax - one at the label) * factor; zero for rows that count for nothing.
template <class E, int rowThreads>
__device__ __forceinline__ void backwardRow(const CrossEntropyArguments& k, long long row, int thread) {
  const float* const logits = k.logits + row * k.stride;
  E* const gradient = static_cast<E*>(k.gradient) + row * k.stride;
  const long long label = k.labels[row];
  const float factor = label == ignoredLabel ? 0.0f : *k.factor;
  const float logSum = k.logSums[row];
  const int whole = k.vocabulary / 4;
  for (int i = thread; i < whole; i += rowThreads) {
    float four[4];
    loadFour<float>(logits, 4ll * i, four);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float p = expf(four[j] - logSum);
      four[j] = factor == 0 ? 0.0f : multiply(4ll * i + j == label ? subtract(p, 1.0f) : p, factor);
    }
    storeFour<E>(gradient, 4ll * i, four);
  }
  for (int i = 4 * whole + thread; i < k.vocabulary; i += rowThreads) {
    const float p = expf(logits[i] - logSum);
    const float value = factor == 0 ? 0.0f : multiply(i == label ? subtract(p, 1.0f) : p, factor);
    gradient[i] = Convert<E>::from(value);
  }
}

extern "C" __global__ void __launch_bounds__(kernelThreads) crossEntropy(const __grid_constant__ CrossEntropyArguments k) {
  forwardRow<kernelThreads>(k, blockIdx.x, threadIdx.x);
}

#define TIERRA_CROSS_ENTROPY(E)                                                  \
  extern "C" __global__ void __launch_bounds__(kernelThreads)                    \
      crossEntropyBackward##E(const __grid_constant__ CrossEntropyArguments k) { \
    backwardRow<E, kernelThreads>(k, blockIdx.x, threadIdx.x);                   \
  }

TIERRA_CROSS_ENTROPY(BFloat16)
TIERRA_CROSS_ENTROPY(Half)
TIERRA_CROSS_ENTROPY(float)
