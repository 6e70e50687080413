// A thread that does one job after the other: what a group computes between messages.
#pragma once

#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

namespace tierra::dist {

class Lane {
 public:
  // Ends what is queued: jobs that block must have been made to fail first.
  ~Lane();
  std::shared_future<void> run(std::packaged_task<void()> job);

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::packaged_task<void()>> jobs_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace tierra::dist
