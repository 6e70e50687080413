#include "checksum.h"

#include <cstring>

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

struct Lanes {
  alignas(64) std::uint64_t a[lanes];
};

inline __attribute__((always_inline)) void accumulate(Lanes& lane, const unsigned char* data, const std::uint64_t* key) {
  std::uint64_t word[lanes];
  std::memcpy(word, data, stripeBytes);
  std::uint64_t swapped[lanes];
  for (std::size_t i = 0; i < lanes; ++i) swapped[i] = word[i ^ 1];
  for (std::size_t i = 0; i < lanes; ++i) {
    const std::uint64_t mixed = word[i] ^ key[i];
    lane.a[i] += swapped[i] + (mixed & 0xffffffffu) * (mixed >> 32);
  }
}

inline __attribute__((always_inline)) void scramble(Lanes& lane) {
  for (std::size_t i = 0; i < lanes; ++i) {
    const std::uint64_t a = lane.a[i] ^ (lane.a[i] >> 47) ^ keys[i];
    // 64 x 32 bits from two 32 x 32 products, which every vector unit has.
    lane.a[i] = (a & 0xffffffffu) * 0x9e3779b1u + (((a >> 32) * 0x9e3779b1u) << 32);
  }
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#endif
void consume(Lanes& lane, const unsigned char* data, std::size_t stripes) {
  Lanes local = lane;
  std::size_t inBlock = 0;
  for (std::size_t s = 0; s < stripes; ++s) {
    accumulate(local, data + s * stripeBytes, keys + inBlock);
    if (++inBlock == stripesPerBlock) {
      scramble(local);
      inBlock = 0;
    }
  }
  lane = local;
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

}  // namespace

std::uint64_t hashPiece(const void* data, std::size_t bytes) {
  const auto* from = static_cast<const unsigned char*>(data);
  Lanes lane;
  std::memcpy(lane.a, keys + 7, sizeof lane.a);
  const std::size_t stripes = bytes / stripeBytes;
  consume(lane, from, stripes);
  if (const std::size_t rest = bytes % stripeBytes) {
    unsigned char last[stripeBytes] = {};
    std::memcpy(last, from + stripes * stripeBytes, rest);
    accumulate(lane, last, keys + stripesPerBlock);
  }
  std::uint64_t h = bytes * 0x9e3779b185ebca87u;
  for (std::size_t i = 0; i < lanes; i += 2) h += foldedProduct(lane.a[i] ^ keys[i + 9], lane.a[i + 1] ^ keys[i + 10]);
  return finish(h);
}

std::uint64_t combine(const std::uint64_t* pieces, std::size_t count, std::uint64_t payloadBytes) {
  std::uint64_t h = payloadBytes ^ keys[3];
  for (std::size_t i = 0; i < count; ++i) h = finish((h ^ pieces[i]) * 0x9e3779b185ebca87u + keys[5]);
  return finish(h);
}

}  // namespace tierra::io
