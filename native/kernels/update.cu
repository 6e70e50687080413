// The canonical update on state that lies on the device: the operations of native/src/optim/update.h in its order, so that
// where a chunk's state lives changes no bit. The reference is native/src/optim/scalar.cc.
#include "numbers.cuh"
#include "kernelArguments.h"

struct AdamW {
  static constexpr bool secondMoment = true;
  template <class T>
  static __device__ __forceinline__ bool firstMoment(const UpdateNumbers<T>&) { return true; }

  template <class T>
  static __device__ __forceinline__ void step(const UpdateNumbers<T>& k, T g, T& w, T& m, T& v) {
    m = fused(k.oneMinusBeta1, subtract(g, m), m);
    v = fused(k.oneMinusBeta2, fused(g, g, -v), v);
    const T q = divide(m, fused(root(v), k.rootScale, k.eps));
    w = subtract(w, fused(k.stepSize, q, multiply(k.decayRate, w)));
  }
};

struct Sgd {
  static constexpr bool secondMoment = false;
  template <class T>
  static __device__ __forceinline__ bool firstMoment(const UpdateNumbers<T>& k) { return k.usesMomentum != 0; }

  template <class T>
  static __device__ __forceinline__ void step(const UpdateNumbers<T>& k, T gradient, T& w, T& m, T&) {
    const T g = fused(k.weightDecay, w, gradient);
    T d = g;
    if (k.usesMomentum != 0) {
      m = fused(k.momentum, m, g);
      d = k.nesterov != 0 ? fused(k.momentum, m, g) : m;
    }
    w = fused(k.negativeLr, d, w);
  }
};

struct Lion {
  static constexpr bool secondMoment = false;
  template <class T>
  static __device__ __forceinline__ bool firstMoment(const UpdateNumbers<T>&) { return true; }

  template <class T>
  static __device__ __forceinline__ void step(const UpdateNumbers<T>& k, T g, T& w, T& m, T&) {
    const T c = fused(k.oneMinusBeta1, subtract(g, m), m);
    const T s = c > 0 ? T(1) : c < 0 ? T(-1) : c;
    w = subtract(w, fused(k.lr, s, multiply(k.decayRate, w)));
    m = fused(k.oneMinusBeta2, subtract(g, m), m);
  }
};

/// Four elements on their way through the update.
template <class T>
struct Unit {
  T g[4], w[4], m[4], v[4];
};

template <class T>
struct Reach {
  bool first, second, gradient;
};

template <class T, class Rule>
__device__ __forceinline__ Reach<T> reachOf(const UpdateBatch<T>& batch, const UpdatePiece& piece) {
  if (piece.group < 0) return {piece.m != nullptr, piece.v != nullptr, false};
  return {Rule::firstMoment(batch.groups[piece.group]), Rule::secondMoment, true};
}

template <class T>
__device__ __forceinline__ void load(const UpdatePiece& piece, const Reach<T>& reach, long long at, Unit<T>& unit) {
  loadFour<T>(piece.master, at, unit.w);
  if (reach.first) loadFour<T>(piece.m, at, unit.m);
  if (reach.second) loadFour<T>(piece.v, at, unit.v);
  if (reach.gradient) loadFour(piece.gradientType, piece.gradient, at, unit.g);
}

// Copied state keeps its bits: only what was computed is made canonical.
template <class T>
__device__ __forceinline__ void copyFour(const void* from, void* to, long long at) {
  *reinterpret_cast<Four<T>*>(static_cast<T*>(to) + at) =
      *reinterpret_cast<const Four<T>*>(static_cast<const T*>(from) + at);
}

template <class T, class Rule>
__device__ __forceinline__ void finish(const UpdateBatch<T>& batch, const UpdatePiece& piece, const Reach<T>& reach,
                                       T scale, long long at, Unit<T>& unit) {
  const UpdateNumbers<T>& k = batch.groups[piece.group];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    Rule::step(k, multiply(unit.g[i], scale), unit.w[i], unit.m[i], unit.v[i]);
    unit.w[i] = canonical(unit.w[i]);
  }
  storeFour<T>(piece.masterOut, at, unit.w);
  if (reach.first) storeFour<T>(piece.mOut, at, unit.m);
  if (reach.second) storeFour<T>(piece.vOut, at, unit.v);
  if (piece.parameterOut != nullptr) storeFour(piece.parameterType, piece.parameterOut, at, unit.w);
}

template <class T, class Rule>
__device__ void updateOne(const UpdateBatch<T>& batch, const UpdatePiece& piece, const Reach<T>& reach, T scale,
                          long long at) {
  T w = static_cast<const T*>(piece.master)[at];
  T m = reach.first ? static_cast<const T*>(piece.m)[at] : T(0);
  T v = reach.second ? static_cast<const T*>(piece.v)[at] : T(0);
  if (reach.gradient) {
    const T g = multiply(loadOne<T>(piece.gradientType, piece.gradient, at), scale);
    Rule::step(batch.groups[piece.group], g, w, m, v);
    w = canonical(w);
    m = canonical(m);
    v = canonical(v);
    if (piece.parameterOut != nullptr) storeOne(piece.parameterType, piece.parameterOut, at, w);
  }
  static_cast<T*>(piece.masterOut)[at] = w;
  if (reach.first) static_cast<T*>(piece.mOut)[at] = m;
  if (reach.second) static_cast<T*>(piece.vOut)[at] = v;
}

template <class T, class Rule>
__device__ __forceinline__ void update(const UpdateBatch<T>& batch, unsigned block, int thread) {
  const UpdatePiece& piece = batch.pieces[pieceAt(batch.pieces, batch.count, block)];
  const Reach<T> reach = reachOf<T, Rule>(batch, piece);
  const T scale = batch.scaleFrom != nullptr ? Convert<T>::from(*batch.scaleFrom) : batch.scale;
  const long long first = static_cast<long long>(block - piece.firstBlock) * blockElements;
  // Fours begin `head` elements into the piece; what lies before is a four that began outside of it.
  const long long shift = piece.head > 0 ? piece.head - 4 : 0;
  long long at[2];
  bool whole[2];
  Unit<T> units[2];
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    at[j] = first + shift + 4 * (j * kernelThreads + thread);
    whole[j] = piece.head > 0 && at[j] >= 0 && at[j] + 4 <= piece.count;
    if (whole[j] && reach.gradient) load(piece, reach, at[j], units[j]);
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    if (whole[j] && reach.gradient) {
      finish<T, Rule>(batch, piece, reach, scale, at[j], units[j]);
    } else if (whole[j]) {
      copyFour<T>(piece.master, piece.masterOut, at[j]);
      if (reach.first) copyFour<T>(piece.m, piece.mOut, at[j]);
      if (reach.second) copyFour<T>(piece.v, piece.vOut, at[j]);
    } else {
      for (long long i = at[j] < 0 ? 0 : at[j]; i < at[j] + 4 && i < piece.count; ++i) {
        updateOne<T, Rule>(batch, piece, reach, scale, i);
      }
    }
  }
}

#define TIERRA_UPDATE(name, T, Rule)                                                                                 \
  extern "C" __global__ void __launch_bounds__(kernelThreads) name(const __grid_constant__ UpdateBatch<T> batch) { \
    update<T, Rule>(batch, blockIdx.x, threadIdx.x);                                                                 \
  }

TIERRA_UPDATE(adamwFloat, float, AdamW)
TIERRA_UPDATE(adamwDouble, double, AdamW)
TIERRA_UPDATE(sgdFloat, float, Sgd)
TIERRA_UPDATE(sgdDouble, double, Sgd)
TIERRA_UPDATE(lionFloat, float, Lion)
TIERRA_UPDATE(lionDouble, double, Lion)
