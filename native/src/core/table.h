// Tensors by handle. A handle is one number: generation * 2^22 + slot, below 2^53, so that one used after its release
// is recognised.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tierra {

class TensorTable {
 public:
  double adopt(at::Tensor tensor);
  // Null when the handle was released or never given out.
  at::Tensor* find(double handle);
  // Throws E_STATE instead.
  at::Tensor& get(double handle);
  // False when there was nothing to release.
  bool release(double handle);
  size_t live() const { return live_; }
  void clear();

 private:
  struct Slot {
    at::Tensor tensor;
    uint32_t generation = 1;
    uint32_t nextFree = 0;
  };
  Slot* slotOf(double handle);

  std::vector<Slot> slots_;
  uint32_t firstFree_ = UINT32_MAX;
  size_t live_ = 0;
};

// For the other native parts, on a JavaScript thread: the tensor behind a handle (throws E_STATE when released), and a
// new handle, which JavaScript owns from then on. The reference is valid until the next adopt.
at::Tensor& tensorOf(double handle);
double adopt(at::Tensor tensor);

// Throws E_STATE when the tensor's storage has been emptied: reading it would read address zero.
void requireBytes(const at::Tensor& tensor, const std::string& where);
inline bool hasBytes(const at::Tensor& tensor) {
  return !tensor.has_storage() || tensor.numel() == 0 || tensor.unsafeGetTensorImpl()->unsafe_storage().nbytes() > 0;
}

}  // namespace tierra
