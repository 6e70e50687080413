// The optimizer's arithmetic on device memory: the bits of native/src/optim, launched on libtorch's current stream of the
// device without waiting for it. Pointers are device addresses. Without CUDA in the build everything throws E_UNSUPPORTED.
#pragma once

#include <span>
#include <vector>

#include "optim/norms.h"
#include "optim/update.h"

namespace tierra::cuda {

/// A run of elements that one group's numbers apply to.
struct DevicePiece {
  optim::UpdateBuffers buffers;
  int group;  // index in `groups`; -1 copies the state and updates nothing
};

/// Elements `begin` to `begin + count` of a chunk.
struct ChunkSegment {
  std::size_t begin;
  std::size_t count;
  int group;
};

/// A whole chunk as pieces, for one `deviceUpdate`: its segments, ascending and without overlap, and what lies between them,
/// which is copied when the update is out of place.
std::vector<DevicePiece> chunkPieces(const optim::UpdateBuffers& chunk, std::span<const ChunkSegment> segments);

/// One optimizer step over many pieces, in few launches. All pieces have one state type. `scaleFrom` is null or a double on
/// the device that is read when the update runs and takes `gradientScale`'s place.
void deviceUpdate(int device, optim::Rule rule, std::span<const optim::UpdateGroup> groups, double gradientScale,
                  const double* scaleFrom, std::span<const DevicePiece> pieces);

struct DeviceElements {
  const void* data;
  optim::DType type;
  std::size_t count;
};

/// The canonical squared norm of each, in two launches per 160 tensors and one copy. Waits for the device.
std::vector<optim::SquaredNorm> deviceSumSquares(int device, std::span<const DeviceElements> tensors);

/// The same without waiting: 16 bytes for each into `totals` on the device, a double and an unsigned 64-bit count.
void deviceSumSquaresInto(int device, std::span<const DeviceElements> tensors, void* totals);

/// Sums and invalid counts of all blocks of each, one tensor after another, into device memory, without waiting.
void deviceBlockSumsInto(int device, std::span<const DeviceElements> tensors, double* blockSums,
                         std::uint32_t* blockInvalid);

void deviceAccumulate(int device, void* into, optim::DType intoType, const void* from, optim::DType fromType,
                      std::size_t count, double scale);
void deviceCast(int device, void* to, optim::DType toType, const void* from, optim::DType fromType, std::size_t count);

}  // namespace tierra::cuda
