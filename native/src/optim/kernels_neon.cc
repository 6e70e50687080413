// NEON on 64-bit ARM: 4 floats or 2 doubles.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "vectorKernels.h"

namespace tierra::optim {
namespace {

inline const std::uint16_t* words(const void* p) { return static_cast<const std::uint16_t*>(p); }
inline std::uint16_t* words(void* p) { return static_cast<std::uint16_t*>(p); }

inline float32x4_t widen(uint16x4_t bfloats) { return vreinterpretq_f32_u32(vshll_n_u16(bfloats, 16)); }
inline uint16x4_t narrow(float32x4_t x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  return vshrn_n_u32(rounded, 16);
}

/// Two narrow elements, as the low half of a register.
inline uint16x4_t loadTwo(const void* p) {
  std::uint32_t both;
  std::memcpy(&both, p, sizeof both);
  return vreinterpret_u16_u32(vdup_n_u32(both));
}
inline void storeTwo(void* p, uint16x4_t x) {
  const std::uint32_t both = vget_lane_u32(vreinterpret_u32_u16(x), 0);
  std::memcpy(p, &both, sizeof both);
}

struct Floats {
  using Element = float;
  static constexpr std::size_t width = 4;
  float32x4_t x;

  static Floats set(float value) { return {vdupq_n_f32(value)}; }
  static Floats load(const float* p) { return {vld1q_f32(p)}; }
  static Floats load(const double* p) {
    return {vcvt_high_f32_f64(vcvt_f32_f64(vld1q_f64(p)), vld1q_f64(p + 2))};
  }
  static Floats load(const BFloat16* p) { return {widen(vld1_u16(words(p)))}; }
  static Floats load(const Half* p) { return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(words(p))))}; }

  void store(float* p) const { vst1q_f32(p, x); }
  void store(double* p) const {
    vst1q_f64(p, vcvt_f64_f32(vget_low_f32(x)));
    vst1q_f64(p + 2, vcvt_high_f64_f32(x));
  }
  void store(BFloat16* p) const { vst1_u16(words(p), narrow(x)); }
  void store(Half* p) const { vst1_u16(words(p), vreinterpret_u16_f16(vcvt_f16_f32(x))); }

  template <class T>
  void stream(T* p) const {
    store(p);
  }
  static void fence() {}
};

inline Floats mul(Floats a, Floats b) { return {vmulq_f32(a.x, b.x)}; }
inline Floats sub(Floats a, Floats b) { return {vsubq_f32(a.x, b.x)}; }
inline Floats div(Floats a, Floats b) { return {vdivq_f32(a.x, b.x)}; }
inline Floats sqrt(Floats a) { return {vsqrtq_f32(a.x)}; }
inline Floats fma(Floats a, Floats b, Floats c) { return {vfmaq_f32(c.x, a.x, b.x)}; }
inline Floats fms(Floats a, Floats b, Floats c) { return {vfmaq_f32(vnegq_f32(c.x), a.x, b.x)}; }
inline Floats canonical(Floats a) {
  const uint32x4_t number = vceqq_f32(a.x, a.x);
  return {vbslq_f32(number, a.x, vreinterpretq_f32_u32(vdupq_n_u32(0x7fc00000)))};
}
inline Floats lionSign(Floats a) {
  const uint32x4_t number = vceqq_f32(a.x, a.x);
  const uint32x4_t changes = vbicq_u32(number, vceqzq_f32(a.x));  // neither zero nor NaN
  const uint32x4_t magnitude = vandq_u32(changes, vdupq_n_u32(0x7fffffffu));
  return {vbslq_f32(magnitude, vdupq_n_f32(1.0f), a.x)};
}

struct Doubles {
  using Element = double;
  static constexpr std::size_t width = 2;
  float64x2_t x;

  static Doubles set(double value) { return {vdupq_n_f64(value)}; }
  static Doubles load(const double* p) { return {vld1q_f64(p)}; }
  static Doubles load(const float* p) { return {vcvt_f64_f32(vld1_f32(p))}; }
  static Doubles load(const BFloat16* p) { return {vcvt_f64_f32(vget_low_f32(widen(loadTwo(p))))}; }
  static Doubles load(const Half* p) {
    return {vcvt_f64_f32(vget_low_f32(vcvt_f32_f16(vreinterpret_f16_u16(loadTwo(p)))))};
  }

  void store(double* p) const { vst1q_f64(p, x); }
  void store(float* p) const { vst1_f32(p, vcvt_f32_f64(x)); }
  void store(BFloat16* p) const { storeTwo(p, narrow(asFloats())); }
  void store(Half* p) const { storeTwo(p, vreinterpret_u16_f16(vcvt_f16_f32(asFloats()))); }

  template <class T>
  void stream(T* p) const {
    store(p);
  }
  static void fence() {}

 private:
  float32x4_t asFloats() const { return vcombine_f32(vcvt_f32_f64(x), vdup_n_f32(0.0f)); }
};

inline Doubles mul(Doubles a, Doubles b) { return {vmulq_f64(a.x, b.x)}; }
inline Doubles sub(Doubles a, Doubles b) { return {vsubq_f64(a.x, b.x)}; }
inline Doubles div(Doubles a, Doubles b) { return {vdivq_f64(a.x, b.x)}; }
inline Doubles sqrt(Doubles a) { return {vsqrtq_f64(a.x)}; }
inline Doubles fma(Doubles a, Doubles b, Doubles c) { return {vfmaq_f64(c.x, a.x, b.x)}; }
inline Doubles fms(Doubles a, Doubles b, Doubles c) { return {vfmaq_f64(vnegq_f64(c.x), a.x, b.x)}; }
inline Doubles canonical(Doubles a) {
  const uint64x2_t number = vceqq_f64(a.x, a.x);
  return {vbslq_f64(number, a.x, vreinterpretq_f64_u64(vdupq_n_u64(0x7ff8000000000000u)))};
}
inline Doubles lionSign(Doubles a) {
  const uint64x2_t number = vceqq_f64(a.x, a.x);
  const uint64x2_t changes = vbicq_u64(number, vceqzq_f64(a.x));
  const uint64x2_t magnitude = vandq_u64(changes, vdupq_n_u64(0x7fffffffffffffffu));
  return {vbslq_f64(magnitude, vdupq_n_f64(1.0), a.x)};
}

}  // namespace

const KernelTable neonKernels = vectorTable<Floats, Doubles>();

}  // namespace tierra::optim
#endif
