#include "checksum.h"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tierra::io {
namespace {

constexpr std::size_t lanes = 8;
constexpr std::size_t stripeBytes = lanes * 8;
constexpr std::size_t stripesPerBlock = 16;

// The fractional bits of the square roots of the first 24 primes.
alignas(64) constexpr std::uint64_t keys[lanes + stripesPerBlock] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1, 0x510e527fade682d1,
    0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179, 0xcbbb9d5dc1059ed8, 0x629a292a367cd507,
    0x9159015a3070dd17, 0x152fecd8f70e5939, 0x67332667ffc00b31, 0x8eb44a8768581511, 0xdb0c2e0d64f98fa7,
    0x47b5481dbefa4fa4, 0xae5f9156e7b6d99b, 0xcf6c85d39d1a1e15, 0x2f73477d6a4563ca, 0x6d1826cafd82e1ed,
    0x8b43d4570a51b936, 0xe360b596dc380c3f, 0x1c456002ce13e9f8, 0x6f19633143a0af0e,
};

using Consume = void (*)(std::uint64_t* lane, const unsigned char* data, std::size_t stripes);

constexpr std::uint64_t multiplier = 0x9e3779b1u;

void accumulate(std::uint64_t* lane, const unsigned char* data, const std::uint64_t* key) {
  std::uint64_t word[lanes];
  std::memcpy(word, data, stripeBytes);
  for (std::size_t i = 0; i < lanes; ++i) {
    const std::uint64_t mixed = word[i] ^ key[i];
    lane[i] += word[i ^ 1] + (mixed & 0xffffffffu) * (mixed >> 32);
  }
}

void consumePlain(std::uint64_t* lane, const unsigned char* data, std::size_t stripes) {
  std::size_t inBlock = 0;
  for (std::size_t s = 0; s < stripes; ++s) {
    accumulate(lane, data + s * stripeBytes, keys + inBlock);
    if (++inBlock < stripesPerBlock) continue;
    for (std::size_t i = 0; i < lanes; ++i) lane[i] = (lane[i] ^ (lane[i] >> 47) ^ keys[i]) * multiplier;
    inBlock = 0;
  }
}

#if defined(__x86_64__)

// By intrinsics: GCC makes scalar code of the plain loop, at two fifths of the speed. Wider vectors would gain nothing: this
// already hashes faster than one thread reads memory.
__attribute__((target("avx2"))) inline __m256i read(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

__attribute__((target("avx2"))) void consumeAvx2(std::uint64_t* lane, const unsigned char* data, std::size_t stripes) {
  const __m256i times = _mm256_set1_epi64x(multiplier);
  __m256i sum[2] = {read(lane), read(lane + 4)};
  std::size_t inBlock = 0;
  for (std::size_t s = 0; s < stripes; ++s) {
    for (int half = 0; half < 2; ++half) {
      const __m256i word = read(data + s * stripeBytes + half * 32);
      const __m256i mixed = _mm256_xor_si256(word, read(keys + inBlock + half * 4));
      const __m256i product = _mm256_mul_epu32(mixed, _mm256_srli_epi64(mixed, 32));
      sum[half] = _mm256_add_epi64(sum[half], _mm256_add_epi64(_mm256_shuffle_epi32(word, 0x4e), product));
    }
    if (++inBlock < stripesPerBlock) continue;
    for (int half = 0; half < 2; ++half) {
      const __m256i folded = _mm256_xor_si256(sum[half], _mm256_srli_epi64(sum[half], 47));
      const __m256i mixed = _mm256_xor_si256(folded, read(keys + half * 4));
      const __m256i high = _mm256_mul_epu32(_mm256_srli_epi64(mixed, 32), times);
      sum[half] = _mm256_add_epi64(_mm256_mul_epu32(mixed, times), _mm256_slli_epi64(high, 32));
    }
    inBlock = 0;
  }
  for (int half = 0; half < 2; ++half) _mm256_storeu_si256(reinterpret_cast<__m256i*>(lane + half * 4), sum[half]);
}

#endif

Consume chosen() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return consumeAvx2;
#endif
  return consumePlain;
}

std::uint64_t foldedProduct(std::uint64_t a, std::uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t finish(std::uint64_t h) {
  h ^= h >> 37;
  h *= 0x165667919e3779f9u;
  return h ^ (h >> 32);
}

std::uint64_t hashBy(Consume consume, const void* data, std::size_t bytes) {
  const auto* from = static_cast<const unsigned char*>(data);
  std::uint64_t lane[lanes];
  std::memcpy(lane, keys + 7, sizeof lane);
  const std::size_t stripes = bytes / stripeBytes;
  consume(lane, from, stripes);
  if (const std::size_t rest = bytes % stripeBytes) {
    unsigned char last[stripeBytes] = {};
    std::memcpy(last, from + stripes * stripeBytes, rest);
    accumulate(lane, last, keys + stripesPerBlock);
  }
  std::uint64_t h = bytes * 0x9e3779b185ebca87u;
  for (std::size_t i = 0; i < lanes; i += 2) h += foldedProduct(lane[i] ^ keys[i + 9], lane[i + 1] ^ keys[i + 10]);
  return finish(h);
}

}  // namespace

std::uint64_t hashPiece(const void* data, std::size_t bytes) {
  static const Consume consume = chosen();
  return hashBy(consume, data, bytes);
}

bool plainAgrees(const void* data, std::size_t bytes) {
  return hashBy(chosen(), data, bytes) == hashBy(consumePlain, data, bytes);
}

std::uint64_t combine(const std::uint64_t* pieces, std::size_t count, std::uint64_t payloadBytes) {
  std::uint64_t h = payloadBytes ^ keys[3];
  for (std::size_t i = 0; i < count; ++i) h = finish((h ^ pieces[i]) * 0x9e3779b185ebca87u + keys[5]);
  return finish(h);
}

}  // namespace tierra::io
