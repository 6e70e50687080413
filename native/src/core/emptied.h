// Storages whose bytes have been taken away under a live graph. libtorch's kernels would read address zero; with this
// mark they throw instead, where libtorch can take the mark back (2.13 can; its absence is found at compile time).
#pragma once

#include <c10/core/StorageImpl.h>

namespace tierra {

template <typename Storage>
constexpr bool kCanUnmark = requires(Storage& storage) { storage.clear_data_ptr_access_error_msg_(); };

template <typename Storage>
void markEmptied(Storage& storage) {
  if constexpr (kCanUnmark<Storage>) {
    storage.release_data_and_set_meta_custom_data_ptr_error_msg_(
        "the tensor's bytes are not in memory, its storage was emptied");
  }
}

template <typename Storage>
void unmarkEmptied(Storage& storage) {
  if constexpr (kCanUnmark<Storage>) storage.clear_data_ptr_access_error_msg_();
}

}  // namespace tierra
