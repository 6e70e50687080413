#include "cuda/deviceOptimizer.h"

#include "core/error.h"

#ifdef TIERRA_CUDA

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <stdexcept>

#include "cuda/launch.h"
#include "kernelArguments.h"
#include "optim/coefficients.h"

namespace tierra::cuda {

using namespace optim;

namespace {

static_assert(normBlockElements == normBlock && normLaneCount == normLanes);
// What every driver takes as one kernel's parameters.
static_assert(sizeof(UpdateBatch<float>) <= 4096 && sizeof(UpdateBatch<double>) <= 4096 && sizeof(NormBatch) <= 4096);

struct Array {
  const void* data;
  std::size_t elementBytes;
};

/// Elements before the first index at which every array is aligned for a four, 1 to 4; 0: there is none.
int headOf(std::initializer_list<Array> arrays) {
  for (int head = 1; head <= 4; ++head) {
    const bool aligned = std::all_of(arrays.begin(), arrays.end(), [&](const Array& array) {
      const std::size_t access = array.elementBytes == 2 ? 8 : 16;
      return (reinterpret_cast<std::uintptr_t>(array.data) + head * array.elementBytes) % access == 0;
    });
    if (aligned) return head;
  }
  return 0;
}

/// Blocks for `count` elements whose first four may begin up to three elements before them.
unsigned blocksFor(std::size_t count, int head) {
  if (count == 0) return 0;
  const std::size_t before = head > 0 ? static_cast<std::size_t>(4 - head) : 0;
  const std::size_t blocks = (count + before + blockElements - 1) / blockElements;
  if (blocks > std::numeric_limits<int>::max()) {
    fail("E_ARGUMENT", std::to_string(count) + " elements are too many for one kernel");
  }
  return static_cast<unsigned>(blocks);
}

template <class T>
UpdateNumbers<T> numbersOf(const UpdateGroup& group) {
  const Coefficients<T> k = coefficients<T>(group, 1.0);
  return {k.oneMinusBeta1, k.oneMinusBeta2, k.rootScale, k.eps, k.stepSize, k.decayRate, k.lr, k.negativeLr,
          k.weightDecay, k.momentum, group.momentum != 0 ? 1 : 0, group.nesterov ? 1 : 0};
}

UpdatePiece pieceOf(const UpdateBuffers& b, bool updates, bool hasM, bool hasV) {
  UpdatePiece piece{};
  piece.gradient = updates ? b.gradient : nullptr;
  piece.master = b.master;
  piece.masterOut = b.masterOut;
  if (hasM) piece.m = b.m, piece.mOut = b.mOut;
  if (hasV) piece.v = b.v, piece.vOut = b.vOut;
  piece.parameterOut = updates ? b.parameterOut : nullptr;
  piece.count = static_cast<long long>(b.count);
  piece.gradientType = static_cast<signed char>(b.gradientType);
  piece.parameterType = static_cast<signed char>(b.parameterType);
  const std::size_t state = elementBytes(b.stateType);
  // A null pointer is aligned only where the others are when they begin aligned: leave out what is not there.
  const auto orMaster = [&](const void* data) { return Array{data != nullptr ? data : b.master, state}; };
  const Array gradient = piece.gradient != nullptr ? Array{piece.gradient, elementBytes(b.gradientType)} : orMaster(nullptr);
  const Array parameter =
      piece.parameterOut != nullptr ? Array{piece.parameterOut, elementBytes(b.parameterType)} : orMaster(nullptr);
  piece.head = static_cast<signed char>(headOf({orMaster(b.master), orMaster(piece.m), orMaster(piece.v),
                                                orMaster(piece.masterOut), orMaster(piece.mOut), orMaster(piece.vOut),
                                                gradient, parameter}));
  return piece;
}

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

template <class T>
void updateIn(int device, const Kernel& kernel, Rule rule, std::span<const UpdateGroup> groups, double gradientScale,
              const double* scaleFrom, std::span<const DevicePiece> pieces) {
  UpdateBatch<T> batch{};
  unsigned blocks = 0;
  int groupCount = 0;
  std::map<int, int> slotOf;
  const auto flush = [&] {
    launch(kernel, device, blocks, &batch);
    batch = {};
    blocks = 0;
    groupCount = 0;
    slotOf.clear();
  };
  for (const DevicePiece& given : pieces) {
    const UpdateBuffers& b = given.buffers;
    const bool updates = given.group >= 0;
    if (b.count == 0) continue;
    // Copying in place is nothing to do.
    if (!updates && b.master == b.masterOut) continue;
    const bool hasM = updates ? usesFirstMoment(rule, groups[given.group]) : b.m != nullptr;
    const bool hasV = updates ? usesSecondMoment(rule) : b.v != nullptr;
    require(b.master != nullptr && b.masterOut != nullptr, "update: no master weights");
    require(!updates || b.gradient != nullptr, "update: no gradient");
    require(!hasM || (b.m != nullptr && b.mOut != nullptr), "update: no first moment");
    require(!hasV || (b.v != nullptr && b.vOut != nullptr), "update: no second moment");
    const bool newGroup = updates && !slotOf.contains(given.group);
    UpdatePiece piece = pieceOf(b, updates, hasM, hasV);
    const unsigned wanted = blocksFor(b.count, piece.head);
    const bool full = batch.count == updatePieces || (newGroup && groupCount == updateGroups) ||
                      wanted > static_cast<unsigned>(std::numeric_limits<int>::max()) - blocks;
    if (full) flush();
    piece.group = -1;
    if (updates) {
      const auto [found, added] = slotOf.try_emplace(given.group, groupCount);
      if (added) batch.groups[groupCount++] = numbersOf<T>(groups[given.group]);
      piece.group = static_cast<signed char>(found->second);
    }
    piece.firstBlock = blocks;
    blocks += wanted;
    batch.pieces[batch.count++] = piece;
    batch.scale = static_cast<T>(gradientScale);
    batch.scaleFrom = scaleFrom;
  }
  flush();
}

constexpr Kernel updateKernels[3][2] = {
    {{"update.cu", "adamwFloat"}, {"update.cu", "adamwDouble"}},
    {{"update.cu", "sgdFloat"}, {"update.cu", "sgdDouble"}},
    {{"update.cu", "lionFloat"}, {"update.cu", "lionDouble"}},
};

void checkArithmetic(DType type, const char* what) {
  require(type == DType::float32 || type == DType::float64, what);
}

}  // namespace

void deviceUpdate(int device, Rule rule, std::span<const UpdateGroup> groups, double gradientScale,
                  const double* scaleFrom, std::span<const DevicePiece> pieces) {
  if (pieces.empty()) return;
  const DType state = pieces[0].buffers.stateType;
  checkArithmetic(state, "update: state is float32 or float64");
  for (const DevicePiece& piece : pieces) {
    require(isKnown(piece.buffers.gradientType) && isKnown(piece.buffers.parameterType), "update: unknown element type");
    require(piece.buffers.stateType == state, "update: all pieces have one state type");
    require(piece.group >= -1 && piece.group < static_cast<int>(groups.size()), "update: there is no such group");
  }
  const bool wide = state == DType::float64;
  const Kernel& kernel = updateKernels[static_cast<int>(rule)][wide ? 1 : 0];
  if (wide) {
    updateIn<double>(device, kernel, rule, groups, gradientScale, scaleFrom, pieces);
  } else {
    updateIn<float>(device, kernel, rule, groups, gradientScale, scaleFrom, pieces);
  }
}

namespace {

constexpr Kernel normBlocksKernel{"norms.cu", "sumSquaresBlocks"};
constexpr Kernel normTotalsKernel{"norms.cu", "sumSquaresTotals"};

/// The pieces of one launch, with room for no results yet.
NormBatch normBatchOf(std::span<const DeviceElements> tensors) {
  NormBatch batch{};
  std::size_t blocks = 0;
  for (const auto& tensor : tensors) {
    require(isKnown(tensor.type), "sumSquares: unknown element type");
    batch.pieces[batch.count++] = {tensor.data, static_cast<long long>(tensor.count), static_cast<unsigned>(blocks),
                                   static_cast<int>(tensor.type)};
    blocks += normBlocks(tensor.count);
    if (blocks > std::numeric_limits<int>::max()) fail("E_ARGUMENT", "the gradients are too many for one norm kernel");
  }
  batch.blocks = static_cast<unsigned>(blocks);
  return batch;
}

std::span<const DeviceElements> normPiecesFrom(std::span<const DeviceElements> tensors, std::size_t begin) {
  return tensors.subspan(begin, std::min<std::size_t>(normPieces, tensors.size() - begin));
}

void launchNormBlocks(int device, NormBatch& batch, double* sums, unsigned* invalid) {
  constexpr unsigned warps = kernelThreads / normLaneCount;
  batch.blockSums = sums;
  batch.blockInvalid = invalid;
  launch(normBlocksKernel, device, (batch.blocks + warps - 1) / warps, &batch);
}

}  // namespace

void deviceSumSquaresInto(int device, std::span<const DeviceElements> tensors, void* totals) {
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
  const at::TensorOptions onDevice = at::TensorOptions().device(at::kCUDA, static_cast<c10::DeviceIndex>(device));
  unsigned mostBlocks = 1;
  for (std::size_t begin = 0; begin < tensors.size(); begin += normPieces) {
    mostBlocks = std::max(mostBlocks, normBatchOf(normPiecesFrom(tensors, begin)).blocks);
  }
  // One scratch for all launches: they follow one another on the stream.
  const at::Tensor sums = at::empty({static_cast<int64_t>(mostBlocks)}, onDevice.dtype(at::kDouble));
  const at::Tensor invalid = at::empty({static_cast<int64_t>(mostBlocks)}, onDevice.dtype(at::kInt));
  for (std::size_t begin = 0; begin < tensors.size(); begin += normPieces) {
    NormBatch batch = normBatchOf(normPiecesFrom(tensors, begin));
    batch.totals = static_cast<NormTotal*>(totals) + begin;
    launchNormBlocks(device, batch, sums.data_ptr<double>(), reinterpret_cast<unsigned*>(invalid.data_ptr<int>()));
    launch(normTotalsKernel, device, static_cast<unsigned>(batch.count), &batch);
  }
}

void deviceBlockSumsInto(int device, std::span<const DeviceElements> tensors, double* blockSums,
                         std::uint32_t* blockInvalid) {
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
  for (std::size_t begin = 0; begin < tensors.size(); begin += normPieces) {
    NormBatch batch = normBatchOf(normPiecesFrom(tensors, begin));
    launchNormBlocks(device, batch, blockSums, blockInvalid);
    blockSums += batch.blocks;
    blockInvalid += batch.blocks;
  }
}

std::vector<SquaredNorm> deviceSumSquares(int device, std::span<const DeviceElements> tensors) {
  if (tensors.empty()) return {};
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
  const auto bytes = static_cast<int64_t>(tensors.size() * sizeof(NormTotal));
  const at::Tensor totals = at::empty(
      {bytes}, at::TensorOptions().device(at::kCUDA, static_cast<c10::DeviceIndex>(device)).dtype(at::kByte));
  deviceSumSquaresInto(device, tensors, totals.data_ptr());
  std::vector<NormTotal> found(tensors.size());
  const auto stream = c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device)).stream();
  C10_CUDA_CHECK(cudaMemcpyAsync(found.data(), totals.data_ptr(), found.size() * sizeof(NormTotal), cudaMemcpyDeviceToHost,
                                 stream));
  C10_CUDA_CHECK(cudaStreamSynchronize(stream));
  std::vector<SquaredNorm> norms;
  norms.reserve(found.size());
  for (const NormTotal& total : found) norms.push_back({total.sum, static_cast<std::size_t>(total.nonFinite)});
  return norms;
}

namespace {

void launchElementwise(int device, const Kernel& kernel, void* to, DType toType, const void* from, DType fromType,
                       std::size_t count, double scale) {
  const int head = headOf({{to, elementBytes(toType)}, {from, elementBytes(fromType)}});
  const ElementwiseArguments arguments{to, from, static_cast<long long>(count), scale, static_cast<int>(toType),
                                       static_cast<int>(fromType), head};
  launch(kernel, device, blocksFor(count, head), &arguments);
}

}  // namespace

void deviceAccumulate(int device, void* into, DType intoType, const void* from, DType fromType, std::size_t count,
                      double scale) {
  static constexpr Kernel kernels[2] = {{"elementwise.cu", "accumulateFloat"}, {"elementwise.cu", "accumulateDouble"}};
  checkArithmetic(intoType, "accumulate: the sum is float32 or float64");
  require(isKnown(fromType), "accumulate: unknown element type");
  launchElementwise(device, kernels[intoType == DType::float64 ? 1 : 0], into, intoType, from, fromType, count, scale);
}

void deviceCast(int device, void* to, DType toType, const void* from, DType fromType, std::size_t count) {
  static constexpr Kernel kernel{"elementwise.cu", "castElements"};
  require(isKnown(toType) && isKnown(fromType), "cast: unknown element type");
  if (toType != fromType) return launchElementwise(device, kernel, to, toType, from, fromType, count, 1.0);
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
  const auto stream = c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device)).stream();
  if (count > 0) C10_CUDA_CHECK(cudaMemcpyAsync(to, from, count * elementBytes(toType), cudaMemcpyDeviceToDevice, stream));
}

}  // namespace tierra::cuda

#else

namespace tierra::cuda {

namespace {

[[noreturn]] void missing() { fail("E_UNSUPPORTED", "this build of the addon has no CUDA"); }

}  // namespace

void deviceUpdate(int, optim::Rule, std::span<const optim::UpdateGroup>, double, const double*,
                  std::span<const DevicePiece>) {
  missing();
}
void deviceSumSquaresInto(int, std::span<const DeviceElements>, void*) { missing(); }
std::vector<optim::SquaredNorm> deviceSumSquares(int, std::span<const DeviceElements>) { missing(); }
void deviceBlockSumsInto(int, std::span<const DeviceElements>, double*, std::uint32_t*) { missing(); }
void deviceAccumulate(int, void*, optim::DType, const void*, optim::DType, std::size_t, double) { missing(); }
void deviceCast(int, void*, optim::DType, const void*, optim::DType, std::size_t) { missing(); }

}  // namespace tierra::cuda

#endif
