// Sums over ranks in rank order, from messages between CPUs: the same bits whatever arrives first. Half precision is added
// up in fp32 and rounded once. On the wire every rank receives exactly what a ring would send it.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "dist/backend.h"

namespace tierra::dist {

// One group's messages. Sending and receiving return at once; tags are this call's own.
struct Messages {
  int rank, size;
  std::function<c10::intrusive_ptr<c10d::Work>(at::Tensor, int peer, int tag)> send, receive;
};

// `parts[p]`, one-dimensional, goes to rank p; the sum over ranks of `parts[rank]` is left in `into`, of its size.
void orderedReduceScatter(const Messages& messages, const std::vector<at::Tensor>& parts, at::Tensor into, int tag);
// In place; `flat` is one-dimensional. Takes tags `tag` and `tag + 1`.
void orderedAllReduce(const Messages& messages, at::Tensor flat, int tag);
// In place at `root`.
void orderedReduce(const Messages& messages, at::Tensor flat, int root, int tag);

// Whether the element type can be summed here.
bool canOrder(at::ScalarType type);

}  // namespace tierra::dist
