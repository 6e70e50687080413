// Tensors over an arena's bytes, and storages whose bytes come and go under a live autograd graph.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "memory/arena.h"

namespace tierra::memory {

/// A contiguous tensor over the arena; the arena stays in use until its storage is gone.
at::Tensor viewOf(const std::shared_ptr<Arena>& arena, std::uint64_t offset, const std::vector<std::int64_t>& shape,
                  at::ScalarType dtype);

/// Gives the tensor's storage these bytes. What the graph saved keeps naming the same storage, so a parameter that was
/// released after its forward finds its bytes again in backward, wherever they are now. Version counters do not move.
void bindStorage(const at::Tensor& tensor, const std::shared_ptr<Arena>& arena, std::uint64_t offset,
                 std::uint64_t bytes);

/// Takes the storage's bytes away: shape and graph stay, using the elements fails in libtorch.
void unbindStorage(const at::Tensor& tensor);

}  // namespace tierra::memory
