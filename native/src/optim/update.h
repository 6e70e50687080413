// The optimizer step on raw memory, one pass: gradient in, state updated, parameter out.
//
// THE CANONICAL UPDATE. Every implementation (scalar, AVX2, AVX-512, NEON, CUDA) does the operations below, in this
// order, each correctly rounded to nearest even in the type T of the state (float or double), denormals kept:
// `a*b`, `a+b`, `a-b`, `a/b`, `sqrt` are single operations that must not be contracted; `fma(a,b,c)` is a*b+c rounded once
// (CUDA: __fmul_rn, __fadd_rn, __fsub_rn, __fdiv_rn, __fsqrt_rn, __fmaf_rn and their double forms).
//
// Coefficients (coefficients.h) are computed in double from the group and rounded to T once. With g the gradient:
//
//   g = T(gradient) * scale
//
//   adamw   m' = fma(oneMinusBeta1, g - m, m)
//           v' = fma(oneMinusBeta2, fma(g, g, -v), v)
//           q  = m' / fma(sqrt(v'), rootScale, eps)                 rootScale = 1 / sqrt(biasCorrection2)
//           w' = w - fma(stepSize, q, decayRate * w)                stepSize  = lr / biasCorrection1
//                                                                   decayRate = lr * weightDecay
//   sgd     g  = fma(weightDecay, w, g)
//           m' = fma(momentum, m, g)                                only with momentum
//           d  = nesterov ? fma(momentum, m', g) : m'               d = g without momentum
//           w' = fma(-lr, d, w)
//   lion    c  = fma(oneMinusBeta1, g - m, m)
//           s  = c where c is a zero or NaN, else 1 with c's sign
//           w' = w - fma(lr, s, decayRate * w)
//           m' = fma(oneMinusBeta2, g - m, m)
//
// Averages move by a share of the distance: beta and 1 - beta, rounded apart, do not add up to 1, and that error grows with
// the length of the average. Decay and step meet before they meet the much larger weight, so that a small lr * weightDecay
// is not rounded away. (Measured by test/native/optimTensors.test.ts: after 100 steps in fp32
// the weights are nearer to float64's than those of torch's fused AdamW.)
// AdamW: Loshchilov and Hutter 2019 (decoupled decay); the value is that of torch.optim.AdamW, not its bits.
// SGD: torch.optim.SGD with dampening 0. Lion: Chen et al. 2023.
//
// Conversions: double -> float, float -> half and float -> bfloat16 round to nearest even (the last by integer arithmetic:
// the AVX-512 instruction flushes denormals); double -> half and bfloat16 go through float. The parameter is w' converted.
//
// NaN: a stored value that is NaN is the type's positive quiet NaN without payload (0x7fc0, 0x7e00, 0x7fc00000,
// 0x7ff8000000000000), because processors disagree on which payload survives.
#pragma once

#include "types.h"

namespace tierra::optim {

enum class Rule : int { adamw, sgd, lion };

/// Hyper-parameters of one parameter group at one step, as the host computed them: complete, no defaults.
struct UpdateGroup {
  double lr;
  double beta1;
  double beta2;
  double eps;
  double weightDecay;
  double biasCorrection1;  // 1 - beta1^step
  double biasCorrection2;  // 1 - beta2^step, before the square root
  double momentum;         // sgd only
  bool nesterov;           // sgd only
};

/// Where the elements lie. Pointers are aligned to their element; nothing else is asked of them.
///
/// State goes from `master, m, v` to `masterOut, mOut, vOut`: equal pointers update in place, different ones leave the
/// old state intact. Partly overlapping ranges are not allowed. `parameterOut` may be null, and may be the gradient's own
/// bytes when both have elements of the same size. `v` is used by adamw; `m` by adamw, lion, and sgd with momentum.
struct UpdateBuffers {
  const void* gradient;
  DType gradientType;
  DType stateType;  // float32 or float64: also the type of the arithmetic
  const void* master;
  const void* m;
  const void* v;
  void* masterOut;
  void* mOut;
  void* vOut;
  void* parameterOut;
  DType parameterType;
  std::size_t count;
  /// Outputs that are no inputs bypass the cache, where they are aligned to whole vectors. Changes no bit. Pays once the
  /// whole update is larger than the cache: then the line need not be read before it is written (bench/host-adam.ts).
  bool stream = false;
  /// State outputs are scratch that is written over again and again, and stays in the cache.
  bool scratchState = false;
};

/// Whether an update of this size should stream; `parallelUpdate` decides so for itself.
bool exceedsCache(const UpdateBuffers& buffers);

/// Which of `m` and `v` the rule reads and writes.
bool usesFirstMoment(Rule rule, const UpdateGroup& group);
bool usesSecondMoment(Rule rule);

/// Elements `first` to `first + count` of `whole`.
UpdateBuffers slice(const UpdateBuffers& whole, std::size_t first, std::size_t count);

/// Updates `buffers.count` elements on the calling thread. `gradientScale` carries clipping, loss scale and averaging.
/// Elementwise: any split into slices gives the same bits. Denormals are honoured whatever mode the thread was in.
/// Throws std::invalid_argument for a pointer that is missing, an element type that is not allowed here, or a path that
/// this machine cannot run.
void update(Rule rule, const UpdateGroup& group, double gradientScale, const UpdateBuffers& buffers,
            Path path = Path::automatic);

class Pool;

/// The same, in blocks of 16 Ki elements shared out over `pool`'s threads; returns when all are done. Streams when
/// `exceedsCache` says so.
void parallelUpdate(Pool& pool, Rule rule, const UpdateGroup& group, double gradientScale,
                    const UpdateBuffers& buffers, Path path = Path::automatic);

/// The new parameters of that update and nothing else: `masterOut`, `mOut` and `vOut` are not looked at, state stays as it is.
void parallelPreview(Pool& pool, Rule rule, const UpdateGroup& group, double gradientScale,
                     const UpdateBuffers& buffers, Path path = Path::automatic);

}  // namespace tierra::optim
