// The loops of compressed.h, written so that a compiler can make vectors of them. Included once per instruction set: the
// same operations, so the same bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "coefficients.h"
#include "compressed.h"
#include "numbers.h"

namespace tierra::optim {

using CompressedKernel = void (*)(const UpdateGroup& group, double gradientScale, const CompressedBuffers& buffers);

#if defined(__x86_64__)
extern const CompressedKernel compressedAvx2;
extern const CompressedKernel compressedAvx512;
#endif

// Internal linkage: see numbers.h.
namespace {

constexpr std::uint32_t firstM = 888, firstRoot = 1776;
constexpr float topM = 0.9375f, topRoot = 0.96875f;

inline float decodeM(std::uint32_t code, float scale) {
  const std::uint32_t magnitude = code & 127u;
  const std::uint32_t bits = magnitude == 0 ? 0u : (magnitude + firstM) << 20;
  return bitsOf<float>(bits | (code & 128u) << 24) * scale;
}

inline float decodeRoot(std::uint32_t code, float scale) {
  const std::uint32_t bits = code == 0 ? 0u : (code + firstRoot) << 19;
  return bitsOf<float>(bits) * scale;
}

inline std::uint8_t encodeM(float x, float inverse) {
  const std::uint32_t sign = bitsOf<std::uint32_t>(x) >> 24 & 128u;
  const std::uint32_t bits = bitsOf<std::uint32_t>(std::fabs(x) * inverse);
  const auto code = static_cast<std::int32_t>((bits + 0x7ffffu + (bits >> 20 & 1u)) >> 20) - static_cast<std::int32_t>(firstM);
  const std::int32_t magnitude = code < 0 ? 0 : code > 127 ? 127 : code;
  return static_cast<std::uint8_t>(magnitude == 0 ? 0u : sign | static_cast<std::uint32_t>(magnitude));
}

inline std::uint8_t encodeRoot(float r, float inverse) {
  const std::uint32_t bits = bitsOf<std::uint32_t>(r * inverse);
  const auto code =
      static_cast<std::int32_t>((bits + 0x3ffffu + (bits >> 19 & 1u)) >> 19) - static_cast<std::int32_t>(firstRoot);
  const std::int32_t least = r > 0.0f ? 1 : 0;
  return static_cast<std::uint8_t>(code < least ? least : code > 255 ? 255 : code);
}

inline float scaleFor(float largest, float top) {
  return largest < 0x1p-100f ? 0.0f : std::min(largest, 0x1p126f) / top;
}

inline float inverseOf(float scale) { return scale == 0.0f ? 0.0f : 1.0f / scale; }

/// Weights of either kind, as fp32 masters. What is written overlaps nothing else that is written.
struct SplitWeights {
  using Element = BFloat16;
  static float load(const CompressedState& s, std::size_t i) {
    const std::uint32_t tail = s.low[i];
    return bitsOf<float>((static_cast<const BFloat16*>(s.weight)[i].bits - (tail >> 15)) << 16 | tail);
  }
  static void store(const CompressedState& s, std::size_t first, const float* w, std::size_t count) {
    std::uint16_t* __restrict weight = static_cast<std::uint16_t*>(s.weight) + first;
    std::uint16_t* __restrict low = s.low + first;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t bits = bitsOf<std::uint32_t>(w[i]);
      weight[i] = static_cast<std::uint16_t>((bits + 0x8000u) >> 16);
      low[i] = static_cast<std::uint16_t>(bits);
    }
  }
};

struct WholeWeights {
  using Element = float;
  static float load(const CompressedState& s, std::size_t i) { return static_cast<const float*>(s.weight)[i]; }
  static void store(const CompressedState& s, std::size_t first, const float* w, std::size_t count) {
    std::memcpy(static_cast<float*>(s.weight) + first, w, count * sizeof(float));
  }
};

/// A block is read whole before any of it is written: outputs may be inputs, and the copy of the weights may be the gradient.
template <class Gradient, class Weights>
void updateBlocks(const Coefficients<float>& k, const CompressedBuffers& b) {
  const auto* gradient = static_cast<const Gradient*>(b.gradient);
  float w[momentBlock], m[momentBlock], r[momentBlock];
  for (std::size_t first = 0, block = 0; first < b.count; first += momentBlock, ++block) {
    const std::size_t count = std::min(momentBlock, b.count - first);
    const float mScale = b.from.mScales[block], rootScale = b.from.rootScales[block];
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t at = first + i;
      const float g = toFloat(gradient[at]) * k.scale;
      const float w0 = Weights::load(b.from, at);
      const float m0 = decodeM(b.from.m[at], mScale);
      const float r0 = decodeRoot(b.from.root[at], rootScale);
      const float v0 = r0 * r0;
      const float m1 = std::fma(k.oneMinusBeta1, g - m0, m0);
      const float r1 = std::sqrt(std::fma(k.oneMinusBeta2, std::fma(g, g, -v0), v0));
      const float q = m1 / std::fma(r1, k.rootScale, k.eps);
      w[i] = canonical(w0 - std::fma(k.stepSize, q, k.decayRate * w0));
      m[i] = m1;
      r[i] = r1;
    }
    // Magnitudes order like their bits.
    std::uint32_t mostM = 0, mostRoot = 0;
    for (std::size_t i = 0; i < count; ++i) {
      mostM = std::max(mostM, bitsOf<std::uint32_t>(m[i]) & 0x7fffffffu);
      mostRoot = std::max(mostRoot, bitsOf<std::uint32_t>(r[i]) & 0x7fffffffu);
    }
    const float newMScale = scaleFor(bitsOf<float>(mostM), topM);
    const float newRootScale = scaleFor(bitsOf<float>(mostRoot), topRoot);
    const float inverseM = inverseOf(newMScale), inverseRoot = inverseOf(newRootScale);
    std::uint8_t* __restrict codesM = b.to.m + first;
    std::uint8_t* __restrict codesRoot = b.to.root + first;
    for (std::size_t i = 0; i < count; ++i) {
      codesM[i] = encodeM(m[i], inverseM);
      codesRoot[i] = encodeRoot(r[i], inverseRoot);
    }
    b.to.mScales[block] = newMScale;
    b.to.rootScales[block] = newRootScale;
    Weights::store(b.to, first, w, count);
    if (b.weightOut != nullptr) {
      using Element = typename Weights::Element;
      std::memcpy(static_cast<Element*>(b.weightOut) + first, static_cast<const Element*>(b.to.weight) + first,
                  count * sizeof(Element));
    }
  }
}

template <class Gradient>
void updateWeights(const Coefficients<float>& k, const CompressedBuffers& b) {
  if (b.weightType == DType::bfloat16) updateBlocks<Gradient, SplitWeights>(k, b);
  else updateBlocks<Gradient, WholeWeights>(k, b);
}

[[maybe_unused]] void compressedLoops(const UpdateGroup& group, double gradientScale, const CompressedBuffers& b) {
  const Coefficients<float> k = coefficients<float>(group, gradientScale);
  if (b.gradientType == DType::bfloat16) updateWeights<BFloat16>(k, b);
  else updateWeights<float>(k, b);
}

}  // namespace
}  // namespace tierra::optim
