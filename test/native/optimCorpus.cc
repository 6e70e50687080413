// One hash per path over a corpus of awkward numbers: every rule, element type and odd length, in place and out of place.
// Equal hashes mean equal bits. Printed as `path hash`, so that builds for different processors can be compared.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "optim/elementwise.h"
#include "optim/norms.h"
#include "optim/pool.h"
#include "optim/update.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

using namespace tierra::optim;

namespace {

constexpr DType types[] = {DType::bfloat16, DType::float16, DType::float32, DType::float64};

struct Random {
  std::uint64_t state;
  std::uint64_t next() {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
};

struct Layout {
  int exponentBits, fractionBits;
};
Layout layoutOf(DType type) {
  if (type == DType::bfloat16) return {8, 7};
  if (type == DType::float16) return {5, 10};
  if (type == DType::float32) return {8, 23};
  return {11, 52};
}

/// Any bit pattern, with the edges (zeros, denormals, infinities, NaN) and ordinary sizes made frequent.
std::uint64_t pattern(Random& random, DType type) {
  const auto [exponentBits, fractionBits] = layoutOf(type);
  const std::uint64_t allExponent = (std::uint64_t{1} << exponentBits) - 1;
  const std::uint64_t sign = random.next() & 1;
  std::uint64_t fraction = random.next() & ((std::uint64_t{1} << fractionBits) - 1);
  std::uint64_t exponent = random.next() & allExponent;
  switch (random.next() % 16) {
    case 0: exponent = 0; break;                                      // denormal
    case 1: exponent = 0; fraction = 0; break;                        // zero
    case 2: exponent = allExponent; fraction = 0; break;              // infinity
    case 3: exponent = allExponent; break;                            // NaN, quiet or signalling
    case 4: exponent = allExponent - 1; break;                        // near overflow
    case 5: fraction = fraction >> (fractionBits / 2) << (fractionBits / 2); break;  // ties when rounded
    case 6: fraction = (std::uint64_t{1} << fractionBits) - 1; break;
    case 7: exponent = 1; break;
    case 8: case 9: case 10: case 11: exponent = allExponent / 2 - random.next() % 12; break;
    default: break;
  }
  return (((sign << exponentBits) | exponent) << fractionBits) | fraction;
}

std::vector<unsigned char> fill(Random& random, DType type, std::size_t count) {
  const std::size_t bytes = elementBytes(type);
  std::vector<unsigned char> data(count * bytes + bytes);  // one more: reads of a whole vector past it would show in ASan
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t bits = pattern(random, type);
    std::memcpy(data.data() + i * bytes, &bits, bytes);
  }
  return data;
}

/// A copy at an address that whole vectors can be streamed to.
std::unique_ptr<unsigned char, void (*)(void*)> aligned(const std::vector<unsigned char>& bytes) {
  auto* copy = static_cast<unsigned char*>(std::aligned_alloc(64, (bytes.size() + 63) / 64 * 64));
  std::memcpy(copy, bytes.data(), bytes.size());
  return {copy, std::free};
}

struct Hash {
  std::uint64_t value = 0xcbf29ce484222325u;
  void add(const std::vector<unsigned char>& bytes) {
    for (unsigned char byte : bytes) value = (value ^ byte) * 0x100000001b3u;
  }
  void add(double x) {
    std::vector<unsigned char> bytes(sizeof x);
    std::memcpy(bytes.data(), &x, sizeof x);
    add(bytes);
  }
};

const UpdateGroup groups[] = {
    {1e-3, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.001, 0.9, false},
    {3e-4, 0.95, 0.98, 1e-15, 0.1, 0.4, 0.3, 0.5, true},
    {0.1, 0.9, 0.99, 1e-8, 0.0, 1.0, 1.0, 0.0, false},
};

void hashUpdates(Hash& hash, Path path, std::size_t count) {
  Random random{count * 977 + 5};
  for (Rule rule : {Rule::adamw, Rule::sgd, Rule::lion}) {
    for (const UpdateGroup& group : groups) {
      for (DType stateType : {DType::float32, DType::float64}) {
        for (DType gradientType : types) {
          for (DType parameterType : types) {
            const auto gradient = fill(random, gradientType, count);
            auto w = fill(random, stateType, count), m = fill(random, stateType, count), v = fill(random, stateType, count);
            auto w1 = w, m1 = m, v1 = v;
            auto out = fill(random, parameterType, count), out1 = out;
            const double scale = random.next() % 3 == 0 ? 1.0 : 0.3718;
            // Out of place first, then streamed, then in place: all must give the same, and leave their inputs alone.
            UpdateBuffers buffers = {gradient.data(), gradientType, stateType, w.data(), m.data(), v.data(), w1.data(),
                                     m1.data(), v1.data(), out1.data(), parameterType, count};
            update(rule, group, scale, buffers, path);
            const auto streamedW = aligned(w), streamedM = aligned(m), streamedV = aligned(v), streamedOut = aligned(out);
            buffers.masterOut = streamedW.get();
            buffers.mOut = streamedM.get();
            buffers.vOut = streamedV.get();
            buffers.parameterOut = streamedOut.get();
            buffers.stream = true;
            update(rule, group, scale, buffers, path);
            if (std::memcmp(streamedW.get(), w1.data(), w.size()) != 0 ||
                std::memcmp(streamedM.get(), m1.data(), m.size()) != 0 ||
                std::memcmp(streamedV.get(), v1.data(), v.size()) != 0 ||
                std::memcmp(streamedOut.get(), out1.data(), out.size()) != 0) {
              std::printf("streamed differs from stored\n");
            }
            for (const auto* bytes : {&w, &m, &v, &w1, &m1, &v1, &out1}) hash.add(*bytes);
            update(rule, group, scale,
                   {gradient.data(), gradientType, stateType, w.data(), m.data(), v.data(), w.data(), m.data(), v.data(),
                    out.data(), parameterType, count}, path);
            if (w != w1 || m != m1 || v != v1 || out != out1) std::printf("in place differs from out of place\n");
          }
        }
      }
    }
  }
}

void hashOthers(Hash& hash, Path path, std::size_t count) {
  Random random{count * 31 + 7};
  for (DType from : types) {
    const auto x = fill(random, from, count);
    const SquaredNorm norm = sumSquares(x.data(), from, count, path);
    hash.add(norm.sum);
    hash.add(static_cast<double>(norm.nonFinite));
    // Finite values too, or every sum above is NaN.
    auto finite = fill(random, DType::float32, count);
    for (std::size_t i = 0; i < count; ++i) {
      const float value = static_cast<float>(static_cast<double>(random.next() >> 11) * 0x1p-53 - 0.5) * 3e3f;
      std::memcpy(finite.data() + i * 4, &value, 4);
    }
    auto converted = fill(random, from, count);
    cast(converted.data(), from, finite.data(), DType::float32, count, path);
    hash.add(converted);
    hash.add(sumSquares(converted.data(), from, count, path).sum);
    for (DType to : types) {
      auto y = fill(random, to, count);
      cast(y.data(), to, x.data(), from, count, path);
      hash.add(y);
    }
    for (DType into : {DType::float32, DType::float64}) {
      for (double scale : {1.0, 0.1}) {
        auto sum = fill(random, into, count);
        accumulate(sum.data(), into, x.data(), from, count, scale, path);
        hash.add(sum);
      }
    }
  }
}

/// Flush denormals on this thread, as libtorch can be told to: the kernels must not notice.
void flushDenormals() {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined(__aarch64__)
  asm volatile("msr fpcr, %0" : : "r"(std::uint64_t{1} << 24) : "memory");
#endif
}

std::uint64_t hashOf(Path path) {
  Hash hash;
  for (std::size_t count : {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 1021}) {
    hashUpdates(hash, path, count);
    hashOthers(hash, path, count);
  }
  for (std::size_t count : {4095, 4096, 4097, 8192 + 32, 20011}) hashOthers(hash, path, count);
  return hash.value;
}

}  // namespace

int main() {
  for (bool flush : {false, true}) {
    if (flush) flushDenormals();
    for (Path path : {Path::scalar, Path::avx2, Path::avx512, Path::neon}) {
      if (!isAvailable(path)) continue;
      std::printf("%s%s %016llx\n", pathName(path), flush ? " in a thread that flushes denormals" : "",
                  static_cast<unsigned long long>(hashOf(path)));
    }
  }
  return 0;
}
