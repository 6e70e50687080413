// AdamW on compressed states: 6 bytes a parameter with the bf16 weight (8 with an fp32 one) instead of 14.
//
// MASTER. The bf16 weight and 16 more bits are the fp32 master, exactly: weight = (bits + 0x8000) >> 16, low = bits & 0xffff, and
// back bits = (weight - (low >> 15)) << 16 | low. Ties round up in magnitude here, not to even: to even there would be two
// masters for one pair. An fp32 weight is its own master, and there is no low part.
//
// MOMENTS. Eight bits each in blocks of 256 elements, counted from the parameter's first, with one fp32 scale a block (block-wise
// quantisation: Dettmers et al. 2022). The second moment is kept as its root r = sqrt(v), which halves its range. Codes
// are small floats relative to the scale, rounded to nearest even:
//
//   first moment   sign, 4 bits of exponent, 3 of mantissa: magnitude c stands for the float with bits (c + 888) << 20
//   root           4 bits of exponent, 4 of mantissa: code c stands for the float with bits (c + 1776) << 19
//   code 0 is zero; the block's largest magnitude gets the last code (0.9375, 0.96875), so scale = largest / that
//   a root that is not zero never becomes zero: it would make the next step infinite. It gets code 1 at least
//   a block whose largest magnitude is below 2^-100 gets scale 0; above 2^126 counts as 2^126
//
// UPDATE. That of update.h in fp32, on decoded m and v = r * r. The step uses m' and v' as computed; only what is stored is
// rounded. Every path does the same IEEE operations: maxima and single roundings do not depend on the order.
#pragma once

#include <cstdint>

#include "update.h"

namespace tierra::optim {

constexpr std::size_t momentBlock = 256;

/// Scales of a parameter with `count` elements.
constexpr std::size_t momentBlocks(std::size_t count) { return (count + momentBlock - 1) / momentBlock; }

/// Where the states of one parameter lie, or from a multiple of `momentBlock` elements on.
struct CompressedState {
  void* weight;
  std::uint16_t* low;  // null where weights are float32
  std::uint8_t* m;
  std::uint8_t* root;
  float* mScales;  // one a block
  float* rootScales;
};

/// State goes from `from`, which is only read, to `to`: equal pointers update in place, others leave the old state intact. Partly
/// overlapping ranges are not allowed.
struct CompressedBuffers {
  const void* gradient;
  DType gradientType;  // bfloat16 or float32
  DType weightType;    // bfloat16 with `low`, float32 without
  CompressedState from;
  CompressedState to;
  /// Receives a copy of the new weights, or null. May be the gradient's own bytes when both have elements of the same size.
  void* weightOut;
  std::size_t count;
};

/// Elements `first` to `first + count` of `whole`; `first` is a multiple of `momentBlock`.
CompressedBuffers slice(const CompressedBuffers& whole, std::size_t first, std::size_t count);

/// On the calling thread. Throws std::invalid_argument for pointers or types that do not go together and for a path that
/// this machine cannot run.
void updateCompressed(const UpdateGroup& group, double gradientScale, const CompressedBuffers& buffers,
                      Path path = Path::automatic);

class Pool;

/// The same on the pool's threads.
void parallelUpdateCompressed(Pool& pool, const UpdateGroup& group, double gradientScale,
                              const CompressedBuffers& buffers, Path path = Path::automatic);

}  // namespace tierra::optim
