#include "core/references.h"

namespace tierra {

void ReferenceQueue::retire(napi_ref reference) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  retired_.push_back(reference);
  waiting_.store(true, std::memory_order_release);
}

void ReferenceQueue::dropAll(napi_env env) {
  std::vector<napi_ref> taken;
  {
    const std::lock_guard lock(mutex_);
    taken.swap(retired_);
    waiting_.store(false, std::memory_order_release);
  }
  for (napi_ref reference : taken) napi_delete_reference(env, reference);
}

void ReferenceQueue::close(napi_env env) {
  dropAll(env);
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

}  // namespace tierra
