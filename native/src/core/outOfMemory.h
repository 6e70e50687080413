// Thrown by our CPU allocator. Derives from libtorch's own error, which libtorch lets pass through.
#pragma once

#include <c10/util/Exception.h>

#include <cstdint>
#include <string>

namespace tierra {

struct CapExceeded : c10::OutOfMemoryError {
  CapExceeded(int64_t need, int64_t cap, int64_t allocated)
      : c10::OutOfMemoryError(c10::SourceLocation{__func__, __FILE__, __LINE__}, describe(need, cap, allocated)),
        need(need), cap(cap), allocated(allocated) {}

  const std::string& message() const { return msg(); }
  std::string hint() const {
    return "Raise the budget, or let less be live at once: a smaller micro-batch, recomputation, or more offload.";
  }

  const int64_t need;
  const int64_t cap;
  const int64_t allocated;

 private:
  static std::string describe(int64_t need, int64_t cap, int64_t allocated) {
    return "libtorch asked for " + std::to_string(need) + " bytes on cpu, " + std::to_string(allocated) + " of the " +
           std::to_string(cap) + " bytes allowed are in use";
  }
};

}  // namespace tierra
