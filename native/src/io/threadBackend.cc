#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "backend.h"

namespace tierra::io {
namespace {

class ThreadBackend final : public Backend {
 public:
  ThreadBackend(const std::vector<int>& files, unsigned depth) : files_(files) {
    // More threads than this only queue in the kernel.
    const unsigned count = std::min(depth, 8u);
    for (unsigned i = 0; i < count; ++i) threads_.emplace_back([this] { work(); });
  }

  ~ThreadBackend() override {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  void submit(BlockRequest* request) override {
    {
      std::lock_guard lock(mutex_);
      queue_.push_back(request);
      ++inFlight_;
    }
    wake_.notify_one();
  }

  int reap(bool wait, std::vector<BlockRequest*>& done) override {
    std::unique_lock lock(mutex_);
    if (wait && inFlight_ > 0) finishedOne_.wait(lock, [this] { return !finished_.empty(); });
    inFlight_ -= finished_.size();
    done.insert(done.end(), finished_.begin(), finished_.end());
    finished_.clear();
    return 0;
  }

  const char* name() const override { return "threads"; }
  void addBuffer(memory::ArenaId, char*, std::size_t) override {}
  void removeBuffer(memory::ArenaId) override {}

 private:
  void work() {
    for (;;) {
      BlockRequest* request = nullptr;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
        if (queue_.empty()) return;
        request = queue_.front();
        queue_.pop_front();
      }
      const int file = files_[static_cast<std::size_t>(request->file)];
      const auto offset = static_cast<off_t>(request->offset);
      const ssize_t moved = request->write ? pwrite(file, request->data, request->bytes, offset)
                                           : pread(file, request->data, request->bytes, offset);
      request->result = moved < 0 ? -static_cast<std::int64_t>(errno) : moved;
      {
        std::lock_guard lock(mutex_);
        finished_.push_back(request);
      }
      finishedOne_.notify_one();
    }
  }

  std::vector<int> files_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable finishedOne_;
  std::deque<BlockRequest*> queue_;
  std::vector<BlockRequest*> finished_;
  std::size_t inFlight_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<Backend> makeThreadBackend(const std::vector<int>& files, unsigned depth) {
  return std::make_unique<ThreadBackend>(files, depth);
}

}  // namespace tierra::io
