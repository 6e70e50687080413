#include "executor/moments.h"

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
  explicit CpuMoments(std::function<void(std::int64_t)> completed) : completed_(std::move(completed)) {}
  void reach(std::int64_t moment) override { completed_(moment); }
  void awaitOnStream(void*, std::int64_t) override {}
  void computeAwaits(void*) override {}

 private:
  const std::function<void(std::int64_t)> completed_;
};

#ifdef TIERRA_CUDA

void require(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    fail("E_INTERNAL", std::string(what) + " failed: " + cudaGetErrorName(error) + " (" + cudaGetErrorString(error) + ")");
  }
}

class CudaMoments final : public Moments {
 public:
  CudaMoments(int device, std::function<void(std::int64_t)> completed)
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

  void reach(std::int64_t moment) override {
    {
      std::lock_guard lock(mutex_);
      const cudaEvent_t event = takeEvent();
      require(cudaEventRecord(event, c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_)).stream()),
              "marking a moment on the compute stream");
      pending_.push_back({moment, event});
    }
    wake_.notify_one();
  }

  void awaitOnStream(void* stream, std::int64_t moment) override {
    std::lock_guard lock(mutex_);
    // The first moment at or after it, where that was reached several times the newest event; none is pending when
    // all of them have happened.
    const Mark* found = nullptr;
    for (const auto& mark : pending_) {
      if (mark.moment < moment) continue;
      if (found && mark.moment != found->moment) break;
      found = &mark;
    }
    if (found) cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), found->event, 0);
  }

  void computeAwaits(void* event) override {
    require(cudaStreamWaitEvent(c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_)).stream(),
                                static_cast<cudaEvent_t>(event), 0),
            "making compute wait for a copy");
  }

 private:
  struct Mark {
    std::int64_t moment;
    cudaEvent_t event;
  };

  cudaEvent_t takeEvent() {
    if (free_.empty()) {
      cudaEvent_t made = nullptr;
      cudaSetDevice(device_);
      require(cudaEventCreateWithFlags(&made, cudaEventDisableTiming | cudaEventBlockingSync), "making an event");
      all_.push_back(made);
      return made;
    }
    const cudaEvent_t event = free_.back();
    free_.pop_back();
    return event;
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
      {
        std::lock_guard lock(mutex_);
        pending_.pop_front();
        free_.push_back(mark.event);
      }
      completed_(mark.moment);
    }
  }

  const int device_;
  const std::function<void(std::int64_t)> completed_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Mark> pending_;
  std::vector<cudaEvent_t> all_;
  std::vector<cudaEvent_t> free_;
  bool stop_ = false;
  std::thread thread_;
};

#endif

}  // namespace

std::unique_ptr<Moments> makeCpuMoments(std::function<void(std::int64_t)> completed) {
  return std::make_unique<CpuMoments>(std::move(completed));
}

#ifdef TIERRA_CUDA
std::unique_ptr<Moments> makeCudaMoments(int device, std::function<void(std::int64_t)> completed) {
  return std::make_unique<CudaMoments>(device, std::move(completed));
}
#endif

}  // namespace tierra::executor
