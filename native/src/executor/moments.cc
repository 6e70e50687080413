#include "executor/moments.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "executor/timeline.h"

#ifdef TIERRA_CUDA
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#endif

namespace tierra::executor {
namespace {

class CpuMoments final : public Moments {
 public:
  explicit CpuMoments(MomentCompleted completed) : completed_(std::move(completed)) {}
  void begin() override { beganUs_ = nowUs(); }
  void reach(std::int64_t moment) override {
    const double now = nowUs();
    // Reached again in the middle of the next moment, it ends nothing.
    const bool isNew = moment > std::exchange(reached_, std::max(reached_, moment));
    completed_({moment, isNew ? std::exchange(beganUs_, std::nullopt).value_or(now) : now, now});
  }
  MarkId markOf(std::int64_t) override { return 0; }
  void awaitOnStream(void*, MarkId) override {}
  void computeAwaits(void*) override {}

 private:
  const MomentCompleted completed_;
  std::optional<double> beganUs_;
  std::int64_t reached_ = -1;
};

#ifdef TIERRA_CUDA

void require(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    fail("E_INTERNAL", std::string(what) + " failed: " + cudaGetErrorName(error) + " (" + cudaGetErrorString(error) + ")");
  }
}

/// Moments that the host submits ahead of the device: a unit's backward is some hundred launches, the driver queues 1024.
constexpr std::size_t mostAhead = 4;

class CudaMoments final : public Moments {
 public:
  CudaMoments(int device, MomentCompleted completed)
      : device_(device), completed_(std::move(completed)) {
    thread_ = std::thread([this] { watch(); });
  }

  ~CudaMoments() override {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
    for (const auto event : all_) cudaEventDestroy(event);
  }

  void begin() override {
    std::unique_lock lock(mutex_);
    // No further ahead: with its launch queue full the driver blocks whoever calls it next, and copies would stand still.
    fewer_.wait(lock, [this] { return pending_.size() < mostAhead; });
    if (!begun_) begun_ = takeEvent();
    record(begun_, "marking the beginning of a moment on the compute stream");
  }

  void reach(std::int64_t moment) override {
    {
      std::lock_guard lock(mutex_);
      const cudaEvent_t event = takeEvent();
      record(event, "marking a moment on the compute stream");
      // Reached again in the middle of the next moment, it ends nothing.
      const bool isNew = moment > std::exchange(reached_, std::max(reached_, moment));
      pending_.push_back({++lastMark_, moment, event, isNew ? std::exchange(begun_, nullptr) : nullptr});
    }
    wake_.notify_one();
  }

  MarkId markOf(std::int64_t moment) override {
    std::lock_guard lock(mutex_);
    const auto newest = std::find_if(pending_.rbegin(), pending_.rend(), [moment](const Mark& mark) { return mark.moment == moment; });
    if (newest != pending_.rend()) return newest->id;
    if (moment <= over_) return 0;
    // Nobody stopped at this number: the next one that was reached will do.
    const auto later = std::find_if(pending_.begin(), pending_.end(), [moment](const Mark& mark) { return mark.moment > moment; });
    return later == pending_.end() ? 0 : later->id;
  }

  void awaitOnStream(void* stream, MarkId mark) override {
    std::lock_guard lock(mutex_);
    const auto found = std::find_if(pending_.begin(), pending_.end(), [mark](const Mark& other) { return other.id == mark; });
    if (found != pending_.end()) cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), found->event, 0);
  }

  void computeAwaits(void* event) override {
    require(cudaStreamWaitEvent(c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_)).stream(),
                                static_cast<cudaEvent_t>(event), 0),
            "making compute wait for a copy");
  }

 private:
  struct Mark {
    MarkId id;
    std::int64_t moment;
    cudaEvent_t event;
    cudaEvent_t begun;  // or none
  };

  void record(cudaEvent_t event, const char* what) {
    require(cudaEventRecord(event, c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_)).stream()), what);
  }

  cudaEvent_t takeEvent() {
    if (free_.empty()) {
      cudaEvent_t made = nullptr;
      cudaSetDevice(device_);
      require(cudaEventCreateWithFlags(&made, cudaEventBlockingSync), "making an event");
      all_.push_back(made);
      return made;
    }
    const cudaEvent_t event = free_.back();
    free_.pop_back();
    return event;
  }

  /// On the host's clock. The device's clock says how long after the last mark, which is finer than when this thread wakes up; the
  /// two clocks are kept together by what cannot be: an end after it was seen, and slowly otherwise.
  double endOf(const Mark& mark) {
    const double seenUs = nowUs();
    float milliseconds = 0;
    if (!last_ || cudaEventElapsedTime(&milliseconds, last_, mark.event) != cudaSuccess) return seenUs;
    const double endUs = lastEndUs_ + milliseconds * 1000.0;
    return std::min(seenUs, endUs + std::max(0.0, seenUs - endUs) * 0.01);
  }

  void watch() {
    cudaSetDevice(device_);
    for (;;) {
      Mark mark{};
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return stop_ || !pending_.empty(); });
        if (pending_.empty()) return;
        mark = pending_.front();
      }
      // A sticky error shows up in the copies and in libtorch; waiting for it here must not hang the lanes.
      cudaEventSynchronize(mark.event);
      const double endUs = endOf(mark);
      float milliseconds = 0;
      if (mark.begun) cudaEventElapsedTime(&milliseconds, mark.begun, mark.event);
      const double startUs = std::max(lastEndUs_, endUs - milliseconds * 1000.0);
      {
        std::lock_guard lock(mutex_);
        pending_.pop_front();
        over_ = mark.moment;
        if (last_) free_.push_back(last_);
        if (mark.begun) free_.push_back(mark.begun);
      }
      fewer_.notify_one();
      last_ = mark.event;
      lastEndUs_ = endUs;
      completed_({mark.moment, std::min(startUs, endUs), endUs});
    }
  }

  const int device_;
  const MomentCompleted completed_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable fewer_;
  std::deque<Mark> pending_;
  std::vector<cudaEvent_t> all_;
  std::vector<cudaEvent_t> free_;
  cudaEvent_t begun_ = nullptr;
  cudaEvent_t last_ = nullptr;  // of the last moment that is over; the watching thread's alone, as its time
  double lastEndUs_ = 0;
  MarkId lastMark_ = 0;
  std::int64_t reached_ = -1;
  std::int64_t over_ = -1;
  bool stop_ = false;
  std::thread thread_;
};

#endif

}  // namespace

std::unique_ptr<Moments> makeCpuMoments(MomentCompleted completed) {
  return std::make_unique<CpuMoments>(std::move(completed));
}

#ifdef TIERRA_CUDA
std::unique_ptr<Moments> makeCudaMoments(int device, MomentCompleted completed) {
  return std::make_unique<CudaMoments>(device, std::move(completed));
}
#endif

}  // namespace tierra::executor
