#include "core/table.h"

#include "core/environment.h"
#include "core/error.h"

namespace tierra {

namespace {

constexpr uint64_t kSlotBits = 22;
constexpr uint64_t kMostSlots = uint64_t{1} << kSlotBits;
constexpr uint32_t kLastGeneration = (uint32_t{1} << 31) - 1;
constexpr uint32_t kNone = UINT32_MAX;

}  // namespace

double TensorTable::adopt(at::Tensor tensor) {
  uint32_t index = firstFree_;
  if (index != kNone) {
    firstFree_ = slots_[index].nextFree;
  } else {
    if (slots_.size() == kMostSlots) {
      fail("E_STATE", "4194304 tensor handles are live, the table is full",
           "Handles are leaking: release tensors, or make them inside a scope.");
    }
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  }
  Slot& slot = slots_[index];
  slot.tensor = std::move(tensor);
  ++live_;
  return static_cast<double>((uint64_t{slot.generation} << kSlotBits) | index);
}

TensorTable::Slot* TensorTable::slotOf(double handle) {
  if (!(handle >= 0 && handle < 9007199254740992.0)) return nullptr;
  const auto bits = static_cast<uint64_t>(handle);
  const uint64_t index = bits & (kMostSlots - 1);
  if (index >= slots_.size()) return nullptr;
  Slot& slot = slots_[index];
  if (slot.generation != bits >> kSlotBits || !slot.tensor.defined()) return nullptr;
  return &slot;
}

at::Tensor* TensorTable::find(double handle) {
  Slot* slot = slotOf(handle);
  return slot == nullptr ? nullptr : &slot->tensor;
}

at::Tensor& TensorTable::get(double handle) {
  at::Tensor* tensor = find(handle);
  if (tensor == nullptr) {
    fail("E_STATE", "tensor was already released", "A handle is used after its dispose() or outside its scope.",
         {{"handle", handle}});
  }
  return *tensor;
}

bool TensorTable::release(double handle) {
  Slot* slot = slotOf(handle);
  if (slot == nullptr) return false;
  // Freed last: a tensor's end may run code that looks at the table.
  const at::Tensor freed = std::move(slot->tensor);
  slot->tensor = at::Tensor();
  --live_;
  // A slot whose generations are used up is retired: a handle must never come back.
  if (slot->generation == kLastGeneration) return true;
  ++slot->generation;
  slot->nextFree = firstFree_;
  firstFree_ = static_cast<uint32_t>(slot - slots_.data());
  return true;
}

void TensorTable::clear() {
  slots_.clear();
  firstFree_ = kNone;
  live_ = 0;
}

at::Tensor& tensorOf(double handle) { return Environment::current().tensors.get(handle); }

void requireBytes(const at::Tensor& tensor, const std::string& where) {
  if (hasBytes(tensor)) return;
  fail("E_STATE", where + ": the tensor's bytes are not in memory, its storage was emptied",
       "Give the storage its bytes back (fetch the chunk) before the tensor is used.");
}

double adopt(at::Tensor tensor) { return Environment::current().tensors.adopt(std::move(tensor)); }

}  // namespace tierra
