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
  void work();
  void drain();

  std::mutex turn_;  // one `run` at a time
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  const std::function<void(std::size_t)>* body_ = nullptr;
  std::size_t blocks_ = 0;
  std::atomic<std::size_t> next_{0};
  std::size_t busy_ = 0;
  std::size_t round_ = 0;
  bool stop_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace tierra::optim
