// JavaScript objects kept alive by native memory. A tensor's storage may be freed on any thread, a reference only on
// its JavaScript thread: so the deleter leaves it here, and the next call on that thread drops it.
#pragma once

#include <node_api.h>

#include <atomic>
#include <mutex>
#include <vector>

namespace tierra {

class ReferenceQueue {
 public:
  // From any thread.
  void retire(napi_ref reference);
  // On the environment's thread; cheap when nothing waits.
  void drain(napi_env env) {
    if (waiting_.load(std::memory_order_acquire)) dropAll(env);
  }
  // Drops what waits and forgets later arrivals: Node frees them with the environment.
  void close(napi_env env);

 private:
  void dropAll(napi_env env);

  std::mutex mutex_;
  std::atomic<bool> waiting_ = false;
  bool closed_ = false;
  std::vector<napi_ref> retired_;
};

}  // namespace tierra
