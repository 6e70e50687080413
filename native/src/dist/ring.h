// Blocks that go around a ring of ranks: each rank passes what it has to the next one and gets its predecessor's, while it
// computes with what it has.
#pragma once

#include <ATen/ATen.h>

#include "dist/group.h"

namespace tierra::dist {

// One step around the ring, under way: to the rank `offset` (1 to size - 1) further on. Blocks of all ranks have one shape.
class Turn {
 public:
  Turn(Group& group, at::Tensor going, int tag, int offset = 1) : going_(std::move(going)), coming_(at::empty_like(going_)) {
    const int size = group.size(), rank = group.rank(), next = (rank + offset) % size, before = (rank + size - offset) % size;
    // Between two ranks NCCL has one queue for both directions: one of them sends first.
    if (rank < next) sent_ = group.send(going_, next, tag);
    received_ = group.receive(coming_, before, tag);
    if (rank > next) sent_ = group.send(going_, next, tag);
  }

  // The predecessor's block. What was sent is this rank's own again.
  at::Tensor arrived() {
    received_->wait();
    sent_->wait();
    return coming_;
  }

 private:
  at::Tensor going_, coming_;
  WorkPtr sent_, received_;
};

// Whose block a rank holds after `step` turns.
inline int64_t ownerAfter(const Group& group, int64_t step) { return (group.rank() - step + group.size()) % group.size(); }

// Tags of blocks, above those that people use and below the group's own.
constexpr int kBlockTag = (1 << 30) - 2;
constexpr int kGradientTag = (1 << 30) - 3;

inline at::ScalarType wideTypeOf(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

// [b, h, t, n] as [b, k, h/k * t, n]: query heads beside the key/value head they share, so that one product serves them.
inline at::Tensor byKeyHead(const at::Tensor& x, int64_t keyHeads) {
  return x.reshape({x.size(0), keyHeads, x.size(1) / keyHeads * x.size(2), x.size(3)});
}

}  // namespace tierra::dist
