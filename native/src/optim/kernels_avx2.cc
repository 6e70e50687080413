// AVX2 with FMA and F16C: 8 floats or 4 doubles.
#if defined(__x86_64__)
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "compile this file with -mavx2 -mfma -mf16c"
#endif
#include <immintrin.h>

#include "vectorKernels.h"

namespace tierra::optim {
namespace {

inline __m128i loadEight(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m128i loadFour(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }

struct Floats {
  using Element = float;
  static constexpr std::size_t width = 8;
  __m256 x;

  static Floats set(float value) { return {_mm256_set1_ps(value)}; }
  static Floats load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Floats load(const double* p) {
    return {_mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(p + 4)), _mm256_cvtpd_ps(_mm256_loadu_pd(p)))};
  }
  static Floats load(const BFloat16* p) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(loadEight(p)), 16))};
  }
  static Floats load(const Half* p) { return {_mm256_cvtph_ps(loadEight(p))}; }

  void store(float* p) const { _mm256_storeu_ps(p, x); }
  void store(double* p) const {
    _mm256_storeu_pd(p, _mm256_cvtps_pd(_mm256_castps256_ps128(x)));
    _mm256_storeu_pd(p + 4, _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
  }
  void store(BFloat16* p) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bfloats()); }
  void store(Half* p) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), halves()); }

  void stream(float* p) const { _mm256_stream_ps(p, x); }
  void stream(double* p) const { store(p); }
  void stream(BFloat16* p) const { _mm_stream_si128(reinterpret_cast<__m128i*>(p), bfloats()); }
  void stream(Half* p) const { _mm_stream_si128(reinterpret_cast<__m128i*>(p), halves()); }
  static void fence() { _mm_sfence(); }

 private:
  __m128i bfloats() const {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i high = _mm256_srli_epi32(rounded, 16);  // at most 0xffff: packing saturates nothing
    return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
  }
  __m128i halves() const { return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT); }
};

inline Floats mul(Floats a, Floats b) { return {_mm256_mul_ps(a.x, b.x)}; }
inline Floats sub(Floats a, Floats b) { return {_mm256_sub_ps(a.x, b.x)}; }
inline Floats div(Floats a, Floats b) { return {_mm256_div_ps(a.x, b.x)}; }
inline Floats sqrt(Floats a) { return {_mm256_sqrt_ps(a.x)}; }
inline Floats fma(Floats a, Floats b, Floats c) { return {_mm256_fmadd_ps(a.x, b.x, c.x)}; }
inline Floats fms(Floats a, Floats b, Floats c) { return {_mm256_fmsub_ps(a.x, b.x, c.x)}; }
inline Floats canonical(Floats a) {
  const __m256 nan = _mm256_cmp_ps(a.x, a.x, _CMP_UNORD_Q);
  return {_mm256_blendv_ps(a.x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)), nan)};
}
inline Floats lionSign(Floats a) {
  const __m256 keeps = _mm256_cmp_ps(a.x, _mm256_setzero_ps(), _CMP_EQ_UQ);  // zero or NaN
  const __m256 sign = _mm256_and_ps(a.x, _mm256_set1_ps(-0.0f));
  return {_mm256_blendv_ps(_mm256_or_ps(sign, _mm256_set1_ps(1.0f)), a.x, keeps)};
}

struct Doubles {
  using Element = double;
  static constexpr std::size_t width = 4;
  __m256d x;

  static Doubles set(double value) { return {_mm256_set1_pd(value)}; }
  static Doubles load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static Doubles load(const float* p) { return {_mm256_cvtps_pd(_mm_loadu_ps(p))}; }
  static Doubles load(const BFloat16* p) {
    return {_mm256_cvtps_pd(_mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu16_epi32(loadFour(p)), 16)))};
  }
  static Doubles load(const Half* p) { return {_mm256_cvtps_pd(_mm_cvtph_ps(loadFour(p)))}; }

  void store(double* p) const { _mm256_storeu_pd(p, x); }
  void store(float* p) const { _mm_storeu_ps(p, _mm256_cvtpd_ps(x)); }
  void store(BFloat16* p) const {
    const __m128i bits = _mm_castps_si128(_mm256_cvtpd_ps(x));
    const __m128i odd = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(1));
    const __m128i rounded = _mm_add_epi32(bits, _mm_add_epi32(odd, _mm_set1_epi32(0x7fff)));
    const __m128i high = _mm_srli_epi32(rounded, 16);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(high, high));
  }
  void store(Half* p) const {
    const __m128i halves = _mm_cvtps_ph(_mm256_cvtpd_ps(x), _MM_FROUND_TO_NEAREST_INT);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), halves);
  }

  void stream(double* p) const { _mm256_stream_pd(p, x); }
  template <class Narrow>
  void stream(Narrow* p) const {
    store(p);
  }
  static void fence() { _mm_sfence(); }
};

inline Doubles mul(Doubles a, Doubles b) { return {_mm256_mul_pd(a.x, b.x)}; }
inline Doubles sub(Doubles a, Doubles b) { return {_mm256_sub_pd(a.x, b.x)}; }
inline Doubles div(Doubles a, Doubles b) { return {_mm256_div_pd(a.x, b.x)}; }
inline Doubles sqrt(Doubles a) { return {_mm256_sqrt_pd(a.x)}; }
inline Doubles fma(Doubles a, Doubles b, Doubles c) { return {_mm256_fmadd_pd(a.x, b.x, c.x)}; }
inline Doubles fms(Doubles a, Doubles b, Doubles c) { return {_mm256_fmsub_pd(a.x, b.x, c.x)}; }
inline Doubles canonical(Doubles a) {
  const __m256d nan = _mm256_cmp_pd(a.x, a.x, _CMP_UNORD_Q);
  return {_mm256_blendv_pd(a.x, _mm256_castsi256_pd(_mm256_set1_epi64x(0x7ff8000000000000)), nan)};
}
inline Doubles lionSign(Doubles a) {
  const __m256d keeps = _mm256_cmp_pd(a.x, _mm256_setzero_pd(), _CMP_EQ_UQ);
  const __m256d sign = _mm256_and_pd(a.x, _mm256_set1_pd(-0.0));
  return {_mm256_blendv_pd(_mm256_or_pd(sign, _mm256_set1_pd(1.0)), a.x, keeps)};
}

}  // namespace

const KernelTable avx2Kernels = vectorTable<Floats, Doubles>();

}  // namespace tierra::optim
#endif
