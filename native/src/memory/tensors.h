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

// Bytes that libtorch allocated, away from their tensor: an arena of their own, so that transfers can name them.

/// The storage's bytes as an arena; the storage is emptied like by `unbindStorage`.
std::shared_ptr<Arena> takeStorage(const at::Tensor& tensor);
/// Fresh bytes from libtorch's allocator for the tensor's device.
std::shared_ptr<Arena> makeStorage(const at::Tensor& like, std::uint64_t bytes);
/// The bytes become the tensor's storage.
void giveStorage(const at::Tensor& tensor, Arena& arena);

}  // namespace tierra::memory
