#include "pool.h"

namespace tierra::optim {
namespace {

// About 30 microseconds: longer than the gap between two updates in a row, shorter than a sleep and a wake.
constexpr int spins = 1000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

template <class Condition>
bool spinUntil(const Condition& condition) {
  for (int i = 0; i < spins; ++i) {
    if (condition()) return true;
    pause();
  }
  return condition();
}

}  // namespace

Pool::Pool(std::size_t threads) : shares_(threads) {
  for (std::size_t self = 1; self < threads; ++self) workers_.emplace_back([this, self] { work(self); });
}

Pool::~Pool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void Pool::run(std::size_t blocks, const std::function<void(std::size_t)>& body) {
  if (workers_.empty() || blocks < 2) {
    for (std::size_t block = 0; block < blocks; ++block) body(block);
    return;
  }
  std::lock_guard turn(turn_);
  for (std::size_t i = 0; i < shares_.size(); ++i) {
    shares_[i].next = blocks * i / shares_.size();
    shares_[i].end = blocks * (i + 1) / shares_.size();
  }
  {
    std::lock_guard lock(mutex_);
    body_ = &body;
    busy_ = workers_.size();
    ++round_;
  }
  wake_.notify_all();
  drain(0);
  const auto idle = [this] { return busy_ == 0; };
  if (spinUntil(idle)) return;
  std::unique_lock lock(mutex_);
  done_.wait(lock, idle);
}

void Pool::drain(std::size_t self) {
  for (std::size_t i = 0; i < shares_.size(); ++i) {
    Share& share = shares_[(self + i) % shares_.size()];
    for (std::size_t block = share.next++; block < share.end; block = share.next++) (*body_)(block);
  }
}

void Pool::work(std::size_t self) {
  std::size_t seen = 0;
  for (;;) {
    const auto called = [&] { return stop_ || round_ != seen; };
    if (!spinUntil(called)) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, called);
    }
    if (stop_) return;
    seen = round_;
    drain(self);
    if (--busy_ == 0) {
      std::lock_guard lock(mutex_);  // so that the caller is either before its look at `busy_` or asleep
      done_.notify_one();
    }
  }
}

}  // namespace tierra::optim
