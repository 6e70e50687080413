// Scalar conversions between element types: the reference for every vector path.
#pragma once

#include <cmath>
#include <cstring>

#include "types.h"

// Internal linkage on purpose: this header is also compiled into files built for AVX-512, whose copies of these functions
// must not be picked by the linker for a machine without it.
namespace tierra::optim {
namespace {

struct BFloat16 {
  std::uint16_t bits;
};
struct Half {
  std::uint16_t bits;
};

template <class To, class From>
[[maybe_unused]] inline To bitsOf(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

[[maybe_unused]] inline float canonical(float x) { return x == x ? x : bitsOf<float>(0x7fc00000u); }
[[maybe_unused]] inline double canonical(double x) {
  return x == x ? x : bitsOf<double>(std::uint64_t{0x7ff8000000000000u});
}

[[maybe_unused]] inline float toFloat(float x) { return x; }
[[maybe_unused]] inline float toFloat(double x) { return static_cast<float>(x); }
[[maybe_unused]] inline float toFloat(BFloat16 x) { return bitsOf<float>(std::uint32_t{x.bits} << 16); }
[[maybe_unused]] inline float toFloat(Half x) {
  const std::uint32_t sign = std::uint32_t{x.bits & 0x8000u} << 16;
  const std::uint32_t exponent = (x.bits >> 10) & 0x1fu;
  const std::uint32_t fraction = x.bits & 0x3ffu;
  if (exponent == 0x1f) return bitsOf<float>(sign | 0x7f800000u | (fraction << 13));
  if (exponent != 0) return bitsOf<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // zero or denormal: exact
  return bitsOf<float>(sign | bitsOf<std::uint32_t>(magnitude));
}

[[maybe_unused]] inline BFloat16 roundToBFloat16(float x) {
  if (x != x) return {0x7fc0};
  const std::uint32_t bits = bitsOf<std::uint32_t>(x);
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

[[maybe_unused]] inline Half roundToHalf(float x) {
  if (x != x) return {0x7e00};
  const std::uint32_t bits = bitsOf<std::uint32_t>(x);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t half;
  if (magnitude >= 0x477ff000u) {  // 65520 and above, halfway beyond the largest half
    half = 0x7c00;
  } else if (magnitude >= 0x38800000u) {  // normal halves
    half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  } else if (magnitude <= 0x33000000u) {  // up to 2^-25, a tie with zero
    half = 0;
  } else {  // denormal halves: the significand in units of 2^-24
    const std::uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
    const std::uint32_t shift = 126 - (magnitude >> 23);
    const std::uint32_t kept = significand >> shift;
    const std::uint32_t rest = significand & ((1u << shift) - 1);
    const std::uint32_t tie = 1u << (shift - 1);
    const bool up = rest > tie || (rest == tie && (kept & 1u) != 0);
    half = kept + (up ? 1 : 0);
  }
  return {static_cast<std::uint16_t>(sign | half)};
}

// Rounding to the narrow types has already made their NaN canonical.
[[maybe_unused]] inline BFloat16 canonical(BFloat16 x) { return x; }
[[maybe_unused]] inline Half canonical(Half x) { return x; }

template <class To>
struct Convert;
template <>
struct Convert<float> {
  template <class From>
  static float from(From x) { return toFloat(x); }
};
template <>
struct Convert<double> {
  static double from(double x) { return x; }
  template <class From>
  static double from(From x) { return static_cast<double>(toFloat(x)); }
};
template <>
struct Convert<BFloat16> {
  template <class From>
  static BFloat16 from(From x) { return roundToBFloat16(toFloat(x)); }
};
template <>
struct Convert<Half> {
  template <class From>
  static Half from(From x) { return roundToHalf(toFloat(x)); }
};

/// Calls `body` with a value of the element type that `type` names.
template <class Body>
[[maybe_unused]] inline void withType(DType type, Body&& body) {
  switch (type) {
    case DType::bfloat16: return body(BFloat16{});
    case DType::float16: return body(Half{});
    case DType::float32: return body(float{});
    case DType::float64: return body(double{});
  }
}

/// The same for the types that arithmetic is done in.
template <class Body>
[[maybe_unused]] inline void withArithmeticType(DType type, Body&& body) {
  if (type == DType::float64) return body(double{});
  return body(float{});
}

}  // namespace
}  // namespace tierra::optim
