// The kernels of native/kernels compiled for the host, an intrinsic at a time, against the scalar reference: the same bits for
// every rule, element type, alignment and awkward number. Prints one line per difference, then "compared N".
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "hostDevice.h"

namespace device {

#include "elementwise.cu"
#include "norms.cu"
#include "update.cu"

}  // namespace device

#include "cuda/deviceOptimizer.h"
#include "optim/coefficients.h"
#include "optim/kernelTable.h"
#include "optim/numbers.h"

using namespace tierra::optim;

// The scalar path is the only one linked here.
const KernelTable& tierra::optim::kernelsOf(Path) { return scalarKernels; }

namespace {

constexpr DType types[] = {DType::bfloat16, DType::float16, DType::float32, DType::float64};
long compared = 0;
int differences = 0;

struct Random {
  std::uint64_t state;
  std::uint64_t next() {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
};

/// Elements at an address that is `offset` elements past an aligned one: any bit pattern, edges made frequent.
struct Array {
  std::vector<unsigned char> store;
  unsigned char* data;
  std::size_t bytes;

  Array(Random& random, DType type, std::size_t count, int offset, bool finite = false)
      : store((count + static_cast<std::size_t>(offset)) * elementBytes(type) + 64) {
    auto* aligned = store.data() + (64 - reinterpret_cast<std::uintptr_t>(store.data()) % 64) % 64;
    data = aligned + static_cast<std::size_t>(offset) * elementBytes(type);
    bytes = count * elementBytes(type);
    for (std::size_t i = 0; i < count; ++i) fill(random, type, i, finite);
  }
  Array(const Array& other) : store(other.store), bytes(other.bytes) {
    // The copy's own storage may be aligned otherwise: shift the elements to the same residue.
    const auto residue = reinterpret_cast<std::uintptr_t>(other.data) % 64;
    auto* aligned = store.data() + (64 - reinterpret_cast<std::uintptr_t>(store.data()) % 64) % 64;
    data = aligned + residue;
    std::memcpy(data, other.data, bytes);
  }

  void fill(Random& random, DType type, std::size_t i, bool finite) {
    const int exponentBits = type == DType::bfloat16 || type == DType::float32 ? 8 : type == DType::float16 ? 5 : 11;
    const int fractionBits = static_cast<int>(elementBytes(type)) * 8 - 1 - exponentBits;
    const std::uint64_t all = (std::uint64_t{1} << exponentBits) - 1;
    std::uint64_t fraction = random.next() & ((std::uint64_t{1} << fractionBits) - 1);
    std::uint64_t exponent = random.next() & all;
    const auto kind = random.next() % 16;
    if (kind <= 1) exponent = 0;
    if (kind == 1 || kind == 2) fraction = 0;
    if (kind == 2 || kind == 3) exponent = all;
    if (kind == 4) exponent = all - 1;
    if (kind == 5) fraction = fraction >> (fractionBits / 2) << (fractionBits / 2);
    if (kind >= 8 || (finite && kind > 1)) exponent = all / 2 - random.next() % 12;
    const std::uint64_t bits = ((((random.next() & 1) << exponentBits) | exponent) << fractionBits) | fraction;
    std::memcpy(data + i * elementBytes(type), &bits, elementBytes(type));
  }
};

void compare(const Array& got, const Array& expected, const char* what, std::size_t count) {
  ++compared;
  if (std::memcmp(got.data, expected.data, got.bytes) != 0 && ++differences < 20) {
    std::printf("%s differs, %zu elements\n", what, count);
  }
}

// What native/src/cuda/deviceOptimizer.cc works out for the arrays of one piece.
int headOf(std::vector<std::pair<const void*, std::size_t>> arrays) {
  for (int head = 1; head <= 4; ++head) {
    bool aligned = true;
    for (const auto& [data, bytes] : arrays) {
      aligned = aligned && (reinterpret_cast<std::uintptr_t>(data) + head * bytes) % (bytes == 2 ? 8 : 16) == 0;
    }
    if (aligned) return head;
  }
  return 0;
}

template <class Kernel, class Arguments>
void launch(Kernel kernel, unsigned blocks, const Arguments& arguments) {
  for (unsigned block = 0; block < blocks; ++block) {
    for (unsigned thread = 0; thread < device::kernelThreads; ++thread) {
      device::blockIdx.x = block;
      device::threadIdx.x = thread;
      kernel(arguments);
    }
  }
}

unsigned blocksFor(std::size_t count, int head) {
  return static_cast<unsigned>((count + (head > 0 ? 4 - head : 0) + device::blockElements - 1) / device::blockElements);
}

template <class T>
void checkUpdates(DType stateType, void (*const (&kernels)[3])(device::UpdateBatch<T>)) {
  const UpdateGroup groups[] = {
      {1e-3, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.001, 0.9, false},
      {3e-4, 0.95, 0.98, 1e-15, 0.1, 0.4, 0.3, 0.5, true},
      {0.1, 0.9, 0.99, 1e-8, 0.0, 1.0, 1.0, 0.0, false},
  };
  Random random{stateType == DType::float32 ? 1u : 2u};
  for (Rule rule : {Rule::adamw, Rule::sgd, Rule::lion}) {
    for (DType gradientType : types) {
      for (DType parameterType : types) {
        device::UpdateBatch<T> batch{};
        std::vector<std::vector<Array>> kept;
        const double scale = random.next() % 2 == 0 ? 1.0 : 0.3718;
        const double* const held = &scale;
        batch.scale = static_cast<T>(scale);
        if (random.next() % 2 == 0) {
          batch.scale = 7;
          batch.scaleFrom = held;
        }
        unsigned blocks = 0;
        std::vector<std::size_t> counts;
        for (int i = 0; i < 9; ++i) {
          // Pieces of several groups, of all alignments, some copied, some in place: as one launch has them.
          const std::size_t count = i == 0 ? 4500 : 1 + random.next() % 61;
          const bool agree = random.next() % 4 != 0;
          const int common = static_cast<int>(random.next() % 5);
          const auto offset = [&] { return agree ? common : static_cast<int>(random.next() % 5); };
          const int group = i % 4 == 3 ? -1 : i % 3;
          std::vector<Array> arrays;
          arrays.emplace_back(random, gradientType, count, offset());
          for (int k = 0; k < 3; ++k) arrays.emplace_back(random, stateType, count, offset());
          for (int k = 0; k < 3; ++k) arrays.emplace_back(random, stateType, count, offset());
          arrays.emplace_back(random, parameterType, count, offset());
          std::vector<Array> before = arrays;
          kept.push_back(std::move(before));
          kept.push_back(std::move(arrays));
          std::vector<Array>& a = kept.back();
          const bool inPlace = group >= 0 && random.next() % 2 == 0;
          device::UpdatePiece piece{};
          piece.gradient = a[0].data;
          piece.master = a[1].data;
          piece.m = a[2].data;
          piece.v = a[3].data;
          piece.masterOut = a[inPlace ? 1 : 4].data;
          piece.mOut = a[inPlace ? 2 : 5].data;
          piece.vOut = a[inPlace ? 3 : 6].data;
          piece.parameterOut = random.next() % 5 == 0 ? nullptr : a[7].data;
          piece.count = static_cast<long long>(count);
          piece.group = static_cast<signed char>(group);
          piece.gradientType = static_cast<signed char>(gradientType);
          piece.parameterType = static_cast<signed char>(parameterType);
          const std::size_t state = elementBytes(stateType);
          piece.head = static_cast<signed char>(headOf({{piece.gradient, elementBytes(gradientType)}, {piece.master, state},
                                                        {piece.m, state}, {piece.v, state}, {piece.masterOut, state},
                                                        {piece.mOut, state}, {piece.vOut, state},
                                                        {a[7].data, elementBytes(parameterType)}}));
          piece.firstBlock = blocks;
          blocks += blocksFor(count, piece.head);
          batch.pieces[batch.count++] = piece;
          counts.push_back(count);
        }
        for (int g = 0; g < 3; ++g) {
          const Coefficients<T> k = coefficients<T>(groups[g], 1.0);
          batch.groups[g] = {k.oneMinusBeta1, k.oneMinusBeta2, k.rootScale, k.eps, k.stepSize, k.decayRate, k.lr,
                             k.negativeLr, k.weightDecay, k.momentum, groups[g].momentum != 0, groups[g].nesterov};
        }
        launch(kernels[static_cast<int>(rule)], blocks, batch);
        for (int i = 0; i < batch.count; ++i) {
          const device::UpdatePiece& piece = batch.pieces[i];
          std::vector<Array>& expected = kept[2 * static_cast<std::size_t>(i)];
          const std::vector<Array>& got = kept[2 * static_cast<std::size_t>(i) + 1];
          const bool inPlace = piece.masterOut == piece.master;
          const std::size_t count = counts[static_cast<std::size_t>(i)];
          if (piece.group >= 0) {
            const int to = inPlace ? 1 : 4;
            scalarKernels.update(rule, groups[piece.group], scale,
                                 {expected[0].data, gradientType, stateType, expected[1].data, expected[2].data,
                                  expected[3].data, expected[to].data, expected[to + 1].data, expected[to + 2].data,
                                  piece.parameterOut != nullptr ? expected[7].data : nullptr, parameterType, count});
          } else {
            for (int k = 1; k <= 3; ++k) std::memcpy(expected[k + 3].data, expected[k].data, expected[k].bytes);
          }
          for (std::size_t k = 0; k < got.size(); ++k) compare(got[k], expected[k], "update", count);
        }
      }
    }
  }
}

void checkElementwise() {
  Random random{3};
  for (DType from : types) {
    for (DType to : types) {
      for (std::size_t count : {0, 1, 5, 61, 2047, 2049, 5000}) {
        for (int offset : {0, 1, 3}) {
          Array source(random, from, count, offset), target(random, to, count, random.next() % 3 == 0 ? 2 : offset);
          const Array start = target;
          device::ElementwiseArguments k{target.data, source.data, static_cast<long long>(count), 0.1,
                                         static_cast<int>(to), static_cast<int>(from), 0};
          k.head = headOf({{k.to, elementBytes(to)}, {k.from, elementBytes(from)}});
          const unsigned blocks = count == 0 ? 0 : blocksFor(count, k.head);
          if (to != from) {
            Array expected = start;
            launch(device::castElements, blocks, k);
            scalarKernels.cast(expected.data, to, source.data, from, count);
            compare(target, expected, "cast", count);
          }
          if (to != DType::float32 && to != DType::float64) continue;
          std::memcpy(target.data, start.data, start.bytes);
          Array expected = start;
          launch(to == DType::float32 ? device::accumulateFloat : device::accumulateDouble, blocks, k);
          scalarKernels.accumulate(expected.data, to, source.data, from, count, 0.1);
          compare(target, expected, "accumulate", count);
        }
      }
    }
  }
}

// The lanes' sums and the search for a block's tensor; the tree over lanes is written here as the warp does it.
void checkNorms() {
  Random random{4};
  for (DType type : types) {
    for (const bool finite : {true, false}) {
      device::NormBatch batch{};
      std::vector<Array> arrays;
      for (std::size_t count : {1, 4096, 0, 31, 33, 4097, 9000}) {
        arrays.emplace_back(random, type, count, 1, finite);
        batch.pieces[batch.count++] = {arrays.back().data, static_cast<long long>(count), batch.blocks,
                                       static_cast<int>(type)};
        batch.blocks += static_cast<unsigned>(normBlocks(count));
      }
      for (unsigned block = 0; block < batch.blocks; ++block) {
        const device::NormRange range = device::rangeOf(batch, block);
        double lanes[device::normLaneCount];
        unsigned invalid = 0;
        for (int lane = 0; lane < device::normLaneCount; ++lane) {
          lanes[lane] = device::laneSum(range, nullptr, lane);
          invalid += device::laneInvalid(range, lane);
        }
        for (int half = 16; half > 0; half /= 2) {
          for (int lane = 0; lane < half; ++lane) lanes[lane] = device::add(lanes[lane], lanes[lane + half]);
        }
        const auto* from = static_cast<const unsigned char*>(range.data) + range.first * elementBytes(type);
        const double expected = scalarKernels.sumSquaresBlock(from, type, static_cast<std::size_t>(range.count));
        const double got = device::canonical(lanes[0]);
        ++compared;
        if (std::memcmp(&got, &expected, sizeof got) != 0 && ++differences < 20) std::printf("norm differs\n");
        if (finite && (invalid != 0 || !device::isFinite(got)) && ++differences < 20) std::printf("finite counts\n");
        std::size_t counted = 0;
        withType(type, [&](auto element) {
          for (int i = 0; i < range.count; ++i) {
            const auto x = reinterpret_cast<const decltype(element)*>(from)[i];
            counted += std::isfinite(Convert<double>::from(x)) ? 0 : 1;
          }
        });
        if (invalid != counted && ++differences < 20) std::printf("count of non-finite elements differs\n");
      }
    }
  }
}

// Segments and what lies between them cover a chunk once, in order, each at its own addresses.
void checkChunk() {
  std::vector<float> w(100), out(100);
  std::vector<unsigned short> gradient(100);
  const UpdateBuffers chunk{gradient.data(), DType::bfloat16, DType::float32, w.data(), nullptr, nullptr,
                            out.data(), nullptr, nullptr, nullptr, DType::bfloat16, 100};
  const tierra::cuda::ChunkSegment segments[] = {{0, 10, 1}, {10, 5, 0}, {20, 60, 1}};
  const struct {
    std::size_t begin, count;
    int group;
  } expected[] = {{0, 10, 1}, {10, 5, 0}, {15, 5, -1}, {20, 60, 1}, {80, 20, -1}};
  const auto pieces = tierra::cuda::chunkPieces(chunk, segments);
  bool same = pieces.size() == std::size(expected);
  for (std::size_t i = 0; same && i < pieces.size(); ++i) {
    const auto& [begin, count, group] = expected[i];
    const UpdateBuffers& b = pieces[i].buffers;
    same = pieces[i].group == group && b.count == count && b.master == w.data() + begin &&
           b.gradient == gradient.data() + begin && b.masterOut == out.data() + begin && b.m == nullptr;
  }
  ++compared;
  if (!same && ++differences < 20) std::printf("chunk pieces differ\n");
}

}  // namespace

int main() {
  checkChunk();
  checkUpdates<float>(DType::float32, {device::adamwFloat, device::sgdFloat, device::lionFloat});
  checkUpdates<double>(DType::float64, {device::adamwDouble, device::sgdDouble, device::lionDouble});
  checkElementwise();
  checkNorms();
  std::printf("compared %ld, different %d\n", compared, differences);
  return differences == 0 ? 0 : 1;
}
