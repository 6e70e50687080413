// A few threads that share out numbered blocks of work.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tierra::optim {

/// `threads` counts the caller, who works too: a pool of one starts no thread. Calls of `run` from several threads queue.
///
/// Each thread first walks its own contiguous share, the same in every run, so that caches and prefetchers stay useful, and
/// then helps the others, so that a thread held up by a busy neighbour delays nobody.
class Pool {
 public:
  explicit Pool(std::size_t threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  std::size_t threads() const { return workers_.size() + 1; }

  /// Calls `body(block)` once for every block below `blocks`, in no fixed order; returns when all have returned.
  /// `body` must not throw and must not call `run` of the same pool.
  void run(std::size_t blocks, const std::function<void(std::size_t)>& body);

 private:
  struct alignas(64) Share {
    std::atomic<std::size_t> next{0};
    std::size_t end = 0;
  };
  void work(std::size_t self);
  void drain(std::size_t self);

  std::mutex turn_;  // one `run` at a time
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  const std::function<void(std::size_t)>* body_ = nullptr;
  std::vector<Share> shares_;
  std::atomic<std::size_t> busy_{0};
  std::atomic<std::size_t> round_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace tierra::optim
