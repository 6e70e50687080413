// What kernels are launched with: one struct by value, at most 4 KiB, so that no launch needs a buffer of its own. Read by
// the addon's C++ and by NVRTC alike: no includes, no member functions.
#pragma once

constexpr int kernelThreads = 256;

/// Elements that a block of the update, or of an elementwise kernel, works on: two fours per thread.
constexpr int blockElements = kernelThreads * 4 * 2;

/// A run of elements that one group's numbers apply to.
struct UpdatePiece {
  const void* gradient;
  const void* master;
  const void* m;
  const void* v;
  void* masterOut;
  void* mOut;
  void* vOut;
  void* parameterOut;  // or null
  long long count;
  unsigned firstBlock;
  signed char group;  // -1: state is copied, nothing is updated
  /// Elements before the first four that is aligned in every array, 1 to 4; 0: the arrays do not agree, no fours at all.
  signed char head;
  signed char gradientType;
  signed char parameterType;
};

/// `Coefficients` of native/src/optim/coefficients.h, without the scale.
template <class T>
struct UpdateNumbers {
  T oneMinusBeta1, oneMinusBeta2;
  T rootScale, eps;
  T stepSize, decayRate;
  T lr, negativeLr, weightDecay, momentum;
  int usesMomentum;
  int nesterov;
};

constexpr int updatePieces = 38;
constexpr int updateGroups = 8;

template <class T>
struct UpdateBatch {
  UpdatePiece pieces[updatePieces];
  UpdateNumbers<T> groups[updateGroups];
  int count;
  T scale;
  const double* scaleFrom;  // takes `scale`'s place unless null; on the device
};

struct NormPiece {
  const void* data;
  long long count;
  unsigned firstBlock;
  int type;
};

/// As in native/src/optim/norms.h.
constexpr int normBlockElements = 4096;
constexpr int normLaneCount = 32;
constexpr int normPieces = 160;

struct NormTotal {
  double sum;
  unsigned long long nonFinite;
};

struct NormBatch {
  NormPiece pieces[normPieces];
  int count;
  unsigned blocks;
  double* blockSums;       // [blocks]
  unsigned* blockInvalid;  // [blocks] elements that are infinite or NaN
  NormTotal* totals;       // [count]
};

struct ElementwiseArguments {
  void* to;
  const void* from;
  long long count;
  double scale;
  int toType;
  int fromType;
  int head;  // as in UpdatePiece
};
