// AVX-512 (F, BW, DQ, VL): 16 floats or 8 doubles.
#if defined(__x86_64__)
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "compile this file with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c"
#endif
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own header names its "undefined" registers in a way that GCC 12 warns about.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "vectorKernels.h"

namespace tierra::optim {
namespace {

inline __m256i loadHalves(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m128i loadEighth(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

struct Floats {
  using Element = float;
  static constexpr std::size_t width = 16;
  __m512 x;

  static Floats set(float value) { return {_mm512_set1_ps(value)}; }
  static Floats load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Floats load(const double* p) {
    const __m256 low = _mm512_cvtpd_ps(_mm512_loadu_pd(p));
    const __m256 high = _mm512_cvtpd_ps(_mm512_loadu_pd(p + 8));
    return {_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1)};
  }
  static Floats load(const BFloat16* p) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(loadHalves(p)), 16))};
  }
  static Floats load(const Half* p) { return {_mm512_cvtph_ps(loadHalves(p))}; }

  void store(float* p) const { _mm512_storeu_ps(p, x); }
  void store(double* p) const {
    _mm512_storeu_pd(p, _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
    _mm512_storeu_pd(p + 8, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
  }
  void store(BFloat16* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bfloats()); }
  void store(Half* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), halves()); }

  void stream(float* p) const { _mm512_stream_ps(p, x); }
  void stream(double* p) const { store(p); }
  void stream(BFloat16* p) const { _mm256_stream_si256(reinterpret_cast<__m256i*>(p), bfloats()); }
  void stream(Half* p) const { _mm256_stream_si256(reinterpret_cast<__m256i*>(p), halves()); }
  static void fence() { _mm_sfence(); }

 private:
  __m256i bfloats() const {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
  }
  __m256i halves() const { return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT); }
};

inline Floats mul(Floats a, Floats b) { return {_mm512_mul_ps(a.x, b.x)}; }
inline Floats sub(Floats a, Floats b) { return {_mm512_sub_ps(a.x, b.x)}; }
inline Floats div(Floats a, Floats b) { return {_mm512_div_ps(a.x, b.x)}; }
inline Floats sqrt(Floats a) { return {_mm512_sqrt_ps(a.x)}; }
inline Floats fma(Floats a, Floats b, Floats c) { return {_mm512_fmadd_ps(a.x, b.x, c.x)}; }
inline Floats fms(Floats a, Floats b, Floats c) { return {_mm512_fmsub_ps(a.x, b.x, c.x)}; }
inline Floats canonical(Floats a) {
  const __mmask16 nan = _mm512_cmp_ps_mask(a.x, a.x, _CMP_UNORD_Q);
  return {_mm512_mask_mov_ps(a.x, nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)))};
}
inline Floats lionSign(Floats a) {
  const __mmask16 keeps = _mm512_cmp_ps_mask(a.x, _mm512_setzero_ps(), _CMP_EQ_UQ);  // zero or NaN
  const __m512 sign = _mm512_and_ps(a.x, _mm512_set1_ps(-0.0f));
  return {_mm512_mask_mov_ps(_mm512_or_ps(sign, _mm512_set1_ps(1.0f)), keeps, a.x)};
}

struct Doubles {
  using Element = double;
  static constexpr std::size_t width = 8;
  __m512d x;

  static Doubles set(double value) { return {_mm512_set1_pd(value)}; }
  static Doubles load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static Doubles load(const float* p) { return {_mm512_cvtps_pd(_mm256_loadu_ps(p))}; }
  static Doubles load(const BFloat16* p) {
    const __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(loadEighth(p)), 16);
    return {_mm512_cvtps_pd(_mm256_castsi256_ps(bits))};
  }
  static Doubles load(const Half* p) { return {_mm512_cvtps_pd(_mm256_cvtph_ps(loadEighth(p)))}; }

  void store(double* p) const { _mm512_storeu_pd(p, x); }
  void store(float* p) const { _mm256_storeu_ps(p, _mm512_cvtpd_ps(x)); }
  void store(BFloat16* p) const {
    const __m256i bits = _mm256_castps_si256(_mm512_cvtpd_ps(x));
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtepi32_epi16(_mm256_srli_epi32(rounded, 16)));
  }
  void store(Half* p) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(_mm512_cvtpd_ps(x), _MM_FROUND_TO_NEAREST_INT));
  }

  void stream(double* p) const { _mm512_stream_pd(p, x); }
  template <class Narrow>
  void stream(Narrow* p) const {
    store(p);
  }
  static void fence() { _mm_sfence(); }
};

inline Doubles mul(Doubles a, Doubles b) { return {_mm512_mul_pd(a.x, b.x)}; }
inline Doubles sub(Doubles a, Doubles b) { return {_mm512_sub_pd(a.x, b.x)}; }
inline Doubles div(Doubles a, Doubles b) { return {_mm512_div_pd(a.x, b.x)}; }
inline Doubles sqrt(Doubles a) { return {_mm512_sqrt_pd(a.x)}; }
inline Doubles fma(Doubles a, Doubles b, Doubles c) { return {_mm512_fmadd_pd(a.x, b.x, c.x)}; }
inline Doubles fms(Doubles a, Doubles b, Doubles c) { return {_mm512_fmsub_pd(a.x, b.x, c.x)}; }
inline Doubles canonical(Doubles a) {
  const __mmask8 nan = _mm512_cmp_pd_mask(a.x, a.x, _CMP_UNORD_Q);
  return {_mm512_mask_mov_pd(a.x, nan, _mm512_castsi512_pd(_mm512_set1_epi64(0x7ff8000000000000)))};
}
inline Doubles lionSign(Doubles a) {
  const __mmask8 keeps = _mm512_cmp_pd_mask(a.x, _mm512_setzero_pd(), _CMP_EQ_UQ);
  const __m512d sign = _mm512_and_pd(a.x, _mm512_set1_pd(-0.0));
  return {_mm512_mask_mov_pd(_mm512_or_pd(sign, _mm512_set1_pd(1.0)), keeps, a.x)};
}

}  // namespace

const KernelTable avx512Kernels = vectorTable<Floats, Doubles>();

}  // namespace tierra::optim
#endif
