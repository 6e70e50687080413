// Numbers of the canonical update (native/src/optim/update.h) on the device: single IEEE operations, conversions by
// integer arithmetic, canonical NaN. No header is included: NVRTC finds none without a toolkit, and the tests compile these
// files for the host too.
#pragma once

struct BFloat16 {
  unsigned short bits;
};
struct Half {
  unsigned short bits;
};

// As native/src/optim/types.h numbers them.
constexpr int typeHalf = 5;
constexpr int typeFloat = 6;
constexpr int typeDouble = 7;
constexpr int typeBFloat16 = 15;

__device__ __forceinline__ float multiply(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ double multiply(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ double add(double a, double b) { return __dadd_rn(a, b); }
__device__ __forceinline__ float subtract(float a, float b) { return __fsub_rn(a, b); }
__device__ __forceinline__ double subtract(double a, double b) { return __dsub_rn(a, b); }
__device__ __forceinline__ float divide(float a, float b) { return __fdiv_rn(a, b); }
__device__ __forceinline__ double divide(double a, double b) { return __ddiv_rn(a, b); }
__device__ __forceinline__ float root(float a) { return __fsqrt_rn(a); }
__device__ __forceinline__ double root(double a) { return __dsqrt_rn(a); }
__device__ __forceinline__ float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return __fma_rn(a, b, c); }

__device__ __forceinline__ float canonical(float x) { return x == x ? x : __uint_as_float(0x7fc00000u); }
__device__ __forceinline__ double canonical(double x) {
  return x == x ? x : __longlong_as_double(0x7ff8000000000000ll);
}
// Rounding to the narrow types has already made their NaN canonical.
__device__ __forceinline__ BFloat16 canonical(BFloat16 x) { return x; }
__device__ __forceinline__ Half canonical(Half x) { return x; }

__device__ __forceinline__ float toFloat(float x) { return x; }
__device__ __forceinline__ float toFloat(double x) { return __double2float_rn(x); }
__device__ __forceinline__ float toFloat(BFloat16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
__device__ __forceinline__ float toFloat(Half x) {
  const unsigned sign = (x.bits & 0x8000u) << 16;
  const unsigned exponent = (x.bits >> 10) & 0x1fu;
  const unsigned fraction = x.bits & 0x3ffu;
  if (exponent == 0x1fu) return __uint_as_float(sign | 0x7f800000u | (fraction << 13));
  if (exponent != 0) return __uint_as_float(sign | ((exponent + 112) << 23) | (fraction << 13));
  const float magnitude = multiply(static_cast<float>(fraction), 0x1p-24f);  // zero or denormal: exact
  return __uint_as_float(sign | __float_as_uint(magnitude));
}

__device__ __forceinline__ BFloat16 roundToBFloat16(float x) {
  if (x != x) return {0x7fc0};
  const unsigned bits = __float_as_uint(x);
  return {static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

__device__ __forceinline__ Half roundToHalf(float x) {
  if (x != x) return {0x7e00};
  const unsigned bits = __float_as_uint(x);
  const unsigned sign = (bits >> 16) & 0x8000u;
  const unsigned magnitude = bits & 0x7fffffffu;
  unsigned half;
  if (magnitude >= 0x477ff000u) {  // 65520 and above, halfway beyond the largest half
    half = 0x7c00;
  } else if (magnitude >= 0x38800000u) {  // normal halves
    half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  } else if (magnitude <= 0x33000000u) {  // up to 2^-25, a tie with zero
    half = 0;
  } else {  // denormal halves: the significand in units of 2^-24
    const unsigned significand = (magnitude & 0x7fffffu) | 0x800000u;
    const unsigned shift = 126 - (magnitude >> 23);
    const unsigned kept = significand >> shift;
    const unsigned rest = significand & ((1u << shift) - 1);
    const unsigned tie = 1u << (shift - 1);
    half = kept + (rest > tie || (rest == tie && (kept & 1u) != 0) ? 1 : 0);
  }
  return {static_cast<unsigned short>(sign | half)};
}

template <class To>
struct Convert;
template <>
struct Convert<float> {
  template <class From>
  static __device__ __forceinline__ float from(From x) { return toFloat(x); }
};
template <>
struct Convert<double> {
  static __device__ __forceinline__ double from(double x) { return x; }
  template <class From>
  static __device__ __forceinline__ double from(From x) { return static_cast<double>(toFloat(x)); }
};
template <>
struct Convert<BFloat16> {
  template <class From>
  static __device__ __forceinline__ BFloat16 from(From x) { return roundToBFloat16(toFloat(x)); }
};
template <>
struct Convert<Half> {
  template <class From>
  static __device__ __forceinline__ Half from(From x) { return roundToHalf(toFloat(x)); }
};

/// Four neighbours, in one access of 8 or 16 bytes (fp64: two of 16).
template <class E>
struct alignas(sizeof(E) == 2 ? 8 : 16) Four {
  E x[4];
};

template <class E, class T>
__device__ __forceinline__ void loadFour(const void* from, long long at, T (&to)[4]) {
  const Four<E> found = *reinterpret_cast<const Four<E>*>(static_cast<const E*>(from) + at);
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = Convert<T>::from(found.x[i]);
}

template <class E, class T>
__device__ __forceinline__ void storeFour(void* to, long long at, const T (&from)[4]) {
  Four<E> made;
#pragma unroll
  for (int i = 0; i < 4; ++i) made.x[i] = canonical(Convert<E>::from(from[i]));
  *reinterpret_cast<Four<E>*>(static_cast<E*>(to) + at) = made;
}

// The same with the element type known only at run time; it is equal for a whole block of threads.
template <class T>
__device__ __forceinline__ void loadFour(int type, const void* from, long long at, T (&to)[4]) {
  if (type == typeBFloat16) return loadFour<BFloat16>(from, at, to);
  if (type == typeFloat) return loadFour<float>(from, at, to);
  if (type == typeHalf) return loadFour<Half>(from, at, to);
  return loadFour<double>(from, at, to);
}

template <class T>
__device__ __forceinline__ void storeFour(int type, void* to, long long at, const T (&from)[4]) {
  if (type == typeBFloat16) return storeFour<BFloat16>(to, at, from);
  if (type == typeFloat) return storeFour<float>(to, at, from);
  if (type == typeHalf) return storeFour<Half>(to, at, from);
  return storeFour<double>(to, at, from);
}

template <class T>
__device__ __forceinline__ T loadOne(int type, const void* from, long long at) {
  if (type == typeBFloat16) return Convert<T>::from(static_cast<const BFloat16*>(from)[at]);
  if (type == typeFloat) return Convert<T>::from(static_cast<const float*>(from)[at]);
  if (type == typeHalf) return Convert<T>::from(static_cast<const Half*>(from)[at]);
  return Convert<T>::from(static_cast<const double*>(from)[at]);
}

template <class T>
__device__ __forceinline__ void storeOne(int type, void* to, long long at, T value) {
  if (type == typeBFloat16) static_cast<BFloat16*>(to)[at] = Convert<BFloat16>::from(value);
  if (type == typeFloat) static_cast<float*>(to)[at] = canonical(Convert<float>::from(value));
  if (type == typeHalf) static_cast<Half*>(to)[at] = Convert<Half>::from(value);
  if (type == typeDouble) static_cast<double*>(to)[at] = canonical(Convert<double>::from(value));
}

/// The last of `pieces` that begins at or before `block`.
template <class Piece>
__device__ __forceinline__ int pieceAt(const Piece* pieces, int count, unsigned block) {
  int low = 0;
  int high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (pieces[middle].firstBlock <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}
