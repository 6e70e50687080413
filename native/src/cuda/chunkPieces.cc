#include "cuda/deviceOptimizer.h"

namespace tierra::cuda {

std::vector<DevicePiece> chunkPieces(const optim::UpdateBuffers& chunk, std::span<const ChunkSegment> segments) {
  std::vector<DevicePiece> pieces;
  std::size_t at = 0;
  const auto add = [&](std::size_t begin, std::size_t count, int group) {
    if (count > 0) pieces.push_back({optim::slice(chunk, begin, count), group});
    at = begin + count;
  };
  for (const ChunkSegment& segment : segments) {
    add(at, segment.begin - at, -1);
    add(segment.begin, segment.count, segment.group);
  }
  add(at, chunk.count - at, -1);
  return pieces;
}

}  // namespace tierra::cuda
