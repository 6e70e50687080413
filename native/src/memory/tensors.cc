#include "memory/tensors.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ops/from_blob.h>

#include "core/emptied.h"
#include "core/error.h"

namespace tierra::memory {
namespace {

c10::Device deviceOf(const Arena& arena) {
  return arena.onGpu() ? c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(arena.options().device))
                       : c10::Device(c10::kCPU);
}

void requireAligned(const char* what, std::uint64_t offset, std::size_t element) {
  if (offset % element != 0) {
    fail("E_ARGUMENT", std::string(what) + " at arena offset " + std::to_string(offset) + " is not aligned to its " +
                           std::to_string(element) + "-byte elements");
  }
}

}  // namespace

at::Tensor viewOf(const std::shared_ptr<Arena>& arena, std::uint64_t offset, const std::vector<std::int64_t>& shape,
                  at::ScalarType dtype) {
  std::uint64_t bytes = c10::elementSize(dtype);
  requireAligned("a tensor", offset, bytes);
  for (const std::int64_t dim : shape) {
    if (dim < 0) fail("E_ARGUMENT", "a dimension is negative: " + std::to_string(dim));
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(dim), &bytes)) {
      fail("E_ARGUMENT", "the shape has more bytes than 64 bits can count");
    }
  }
  char* data = arena->at(offset, bytes);
  auto use = std::make_shared<ArenaUse>(arena);
  const c10::Device device = deviceOf(*arena);
  return at::from_blob(
      data, shape, [use](void*) mutable { use.reset(); }, at::TensorOptions().dtype(dtype).device(device), device);
}

void bindStorage(const at::Tensor& tensor, const std::shared_ptr<Arena>& arena, std::uint64_t offset,
                 std::uint64_t bytes) {
  requireAligned("a storage", offset, tensor.element_size());
  const std::uint64_t needed = at::detail::computeStorageNbytes(
      tensor.sizes(), tensor.strides(), tensor.element_size(), static_cast<std::size_t>(tensor.storage_offset()));
  if (bytes < needed) {
    fail("E_ARGUMENT", "a tensor that reaches over " + std::to_string(needed) + " bytes of its storage was given " +
                           std::to_string(bytes));
  }
  const c10::Device device = deviceOf(*arena);
  if (tensor.device() != device) {
    fail("E_ARGUMENT", "a tensor on " + tensor.device().str() + " cannot have its bytes on " + device.str());
  }
  char* data = arena->at(offset, bytes);
  const auto drop = [](void* use) { delete static_cast<ArenaUse*>(use); };
  const c10::Storage& storage = tensor.storage();
  storage.set_data_ptr_noswap(c10::DataPtr(data, new ArenaUse(arena), drop, device));
  storage.set_nbytes(bytes);
  unmarkEmptied(*storage.unsafeGetStorageImpl());
}

void unbindStorage(const at::Tensor& tensor) {
  const c10::Storage& storage = tensor.storage();
  storage.set_data_ptr_noswap(c10::DataPtr(nullptr, storage.device()));
  storage.set_nbytes(0);
  markEmptied(*storage.unsafeGetStorageImpl());
}

namespace {

struct Loan {
  c10::DataPtr data;
  c10::Device device;
};

std::shared_ptr<Arena> lend(c10::DataPtr data, std::uint64_t bytes, c10::Device device) {
  auto* base = static_cast<char*>(data.get());
  auto loan = std::make_shared<Loan>(Loan{std::move(data), device});
  const int index = device.is_cuda() ? device.index() : 0;
  return borrowArena({ArenaKind::device, bytes, index, false}, base, device.is_cuda(), std::move(loan));
}

}  // namespace

std::shared_ptr<Arena> takeStorage(const at::Tensor& tensor) {
  const c10::Storage& storage = tensor.storage();
  const std::uint64_t bytes = storage.nbytes();
  if (bytes == 0) fail("E_STATE", "a tensor without bytes has none to take");
  c10::DataPtr data = storage.set_data_ptr(c10::DataPtr(nullptr, storage.device()));
  storage.set_nbytes(0);
  markEmptied(*storage.unsafeGetStorageImpl());
  return lend(std::move(data), bytes, tensor.device());
}

std::shared_ptr<Arena> makeStorage(const at::Tensor& like, std::uint64_t bytes) {
  if (bytes == 0) fail("E_ARGUMENT", "a storage of 0 bytes was asked for");
  return lend(c10::GetAllocator(like.device().type())->allocate(bytes), bytes, like.device());
}

void giveStorage(const at::Tensor& tensor, Arena& arena) {
  if (arena.owner() == nullptr) fail("E_ARGUMENT", "arena " + std::to_string(arena.id()) + " is not a storage's bytes");
  const c10::Storage& storage = tensor.storage();
  const std::uint64_t needed = at::detail::computeStorageNbytes(
      tensor.sizes(), tensor.strides(), tensor.element_size(), static_cast<std::size_t>(tensor.storage_offset()));
  auto loan = std::static_pointer_cast<Loan>(arena.owner());
  if (arena.bytes() < needed || loan->device != tensor.device()) {
    fail("E_ARGUMENT", "a tensor on " + tensor.device().str() + " that reaches over " + std::to_string(needed) +
                           " bytes was given " + std::to_string(arena.bytes()) + " on " + loan->device.str());
  }
  arena.takeOwner();
  storage.set_data_ptr_noswap(std::move(loan->data));
  storage.set_nbytes(arena.bytes());
  unmarkEmptied(*storage.unsafeGetStorageImpl());
}

}  // namespace tierra::memory
