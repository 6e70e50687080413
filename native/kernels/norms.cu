// The canonical squared norm of many tensors at once, in the order of native/src/optim/norms.h: a warp per block of 4096
// elements, a thread per lane; then a thread block per tensor adds its block sums, ascending.
#include "numbers.cuh"
#include "kernelArguments.h"

template <class E>
__device__ __forceinline__ double laneSum(const E* data, int count, int lane) {
  double sum = 0;
  // Sixteen loads under way before the first is needed: the additions depend on one another, the loads do not.
#pragma unroll 16
  for (int i = lane; i < count; i += normLaneCount) {
    const double x = Convert<double>::from(data[i]);
    sum = fused(x, x, sum);
  }
  return sum;
}

/// Bytes of shared memory through which a warp reads a whole block: its loads are as wide as can be, and lanes keep their elements.
constexpr int stageBytes = 4096;
constexpr int stageVectors = stageBytes / sizeof(uint4);
constexpr int laneVectors = stageVectors / normLaneCount;

template <class E>
__device__ __forceinline__ double stagedLaneSum(const E* data, uint4* stage, int lane) {
  constexpr int rounds = normBlockElements * sizeof(E) / stageBytes;
  const uint4* from = reinterpret_cast<const uint4*>(data) + lane;
  const E* staged = reinterpret_cast<const E*>(stage);
  uint4 next[laneVectors];
#pragma unroll
  for (int i = 0; i < laneVectors; ++i) next[i] = from[i * normLaneCount];
  double sum = 0;
#pragma unroll 1
  for (int round = 1; round <= rounds; ++round) {
#pragma unroll
    for (int i = 0; i < laneVectors; ++i) stage[i * normLaneCount + lane] = next[i];
    __syncwarp();
    if (round < rounds) {
#pragma unroll
      for (int i = 0; i < laneVectors; ++i) next[i] = from[round * stageVectors + i * normLaneCount];
    }
#pragma unroll 16
    for (int i = lane; i < stageBytes / static_cast<int>(sizeof(E)); i += normLaneCount) {
      const double x = Convert<double>::from(staged[i]);
      sum = fused(x, x, sum);
    }
    __syncwarp();
  }
  return sum;
}

template <class E>
__device__ __forceinline__ double laneSum(const E* data, int count, uint4* stage, int lane) {
  const bool whole = count == normBlockElements && reinterpret_cast<unsigned long long>(data) % sizeof(uint4) == 0;
  return whole && stage != nullptr ? stagedLaneSum(data, stage, lane) : laneSum(data, count, lane);
}

__device__ __forceinline__ bool isFinite(double x) {
  return ((__double_as_longlong(x) >> 52) & 0x7ff) != 0x7ff;
}

template <class E>
__device__ __forceinline__ unsigned laneInvalid(const E* data, int count, int lane) {
  unsigned found = 0;
  for (int i = lane; i < count; i += normLaneCount) found += isFinite(Convert<double>::from(data[i])) ? 0 : 1;
  return found;
}

/// A block of a piece: `count` elements from `first` on.
struct NormRange {
  const void* data;
  long long first;
  int count;
  int type;
};

__device__ __forceinline__ NormRange rangeOf(const NormBatch& batch, unsigned block) {
  const NormPiece& piece = batch.pieces[pieceAt(batch.pieces, batch.count, block)];
  const long long first = static_cast<long long>(block - piece.firstBlock) * normBlockElements;
  const long long rest = piece.count - first;
  return {piece.data, first, static_cast<int>(rest < normBlockElements ? rest : normBlockElements), piece.type};
}

template <class E>
__device__ __forceinline__ const E* dataOf(const NormRange& range) {
  return static_cast<const E*>(range.data) + range.first;
}

__device__ __forceinline__ double laneSum(const NormRange& range, uint4* stage, int lane) {
  if (range.type == typeBFloat16) return laneSum(dataOf<BFloat16>(range), range.count, stage, lane);
  if (range.type == typeFloat) return laneSum(dataOf<float>(range), range.count, stage, lane);
  if (range.type == typeHalf) return laneSum(dataOf<Half>(range), range.count, stage, lane);
  return laneSum(dataOf<double>(range), range.count, stage, lane);
}

__device__ __forceinline__ unsigned laneInvalid(const NormRange& range, int lane) {
  if (range.type == typeBFloat16) return laneInvalid(dataOf<BFloat16>(range), range.count, lane);
  if (range.type == typeFloat) return laneInvalid(dataOf<float>(range), range.count, lane);
  if (range.type == typeHalf) return laneInvalid(dataOf<Half>(range), range.count, lane);
  return laneInvalid(dataOf<double>(range), range.count, lane);
}

extern "C" __global__ void __launch_bounds__(kernelThreads) sumSquaresBlocks(const __grid_constant__ NormBatch batch) {
  constexpr unsigned warps = kernelThreads / normLaneCount;
  __shared__ uint4 stages[warps][stageVectors];
  const unsigned warp = threadIdx.x / normLaneCount;
  const unsigned block = blockIdx.x * warps + warp;
  const int lane = threadIdx.x % normLaneCount;
  if (block >= batch.blocks) return;  // whole warps
  const NormRange range = rangeOf(batch, block);
  double sum = laneSum(range, stages[warp], lane);
  for (int half = normLaneCount / 2; half > 0; half /= 2) sum = add(sum, __shfl_down_sync(0xffffffffu, sum, half));
  sum = canonical(__shfl_sync(0xffffffffu, sum, 0));
  unsigned invalid = 0;
  // A finite sum proves that every element is finite, so only the others are counted.
  if (!isFinite(sum)) {
    invalid = laneInvalid(range, lane);
    for (int half = normLaneCount / 2; half > 0; half /= 2) invalid += __shfl_down_sync(0xffffffffu, invalid, half);
  }
  if (lane == 0) {
    batch.blockSums[block] = sum;
    batch.blockInvalid[block] = invalid;
  }
}

extern "C" __global__ void __launch_bounds__(kernelThreads) sumSquaresTotals(const __grid_constant__ NormBatch batch) {
  constexpr unsigned tile = 4 * kernelThreads;
  __shared__ double sums[tile];
  __shared__ unsigned long long invalid;
  const NormPiece& piece = batch.pieces[blockIdx.x];
  const unsigned blocks = static_cast<unsigned>((piece.count + normBlockElements - 1) / normBlockElements);
  unsigned long long found = 0;
  double sum = 0;
  if (threadIdx.x == 0) invalid = 0;
  for (unsigned begin = 0; begin < blocks; begin += tile) {
    const unsigned count = blocks - begin < tile ? blocks - begin : tile;
    for (unsigned i = threadIdx.x; i < count; i += kernelThreads) {
      sums[i] = batch.blockSums[piece.firstBlock + begin + i];
      found += batch.blockInvalid[piece.firstBlock + begin + i];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
#pragma unroll 8
      for (unsigned i = 0; i < count; ++i) sum = add(sum, sums[i]);
    }
    __syncthreads();
  }
  if (blocks == 0) __syncthreads();
  if (found != 0) atomicAdd(&invalid, found);  // integers: any order gives the same
  __syncthreads();
  if (threadIdx.x == 0) batch.totals[blockIdx.x] = {canonical(sum), invalid};
}
