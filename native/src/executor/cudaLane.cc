#ifdef TIERRA_CUDA

#include <cuda_runtime_api.h>

#include <deque>
#include <vector>

#include "executor/lanes.h"
#include "executor/timeline.h"
#include "io/faults.h"

namespace tierra::executor {
namespace {

// Copies on the stream at once: enough that it never runs dry, and no more, since a batch that the model waits for goes the same way.
constexpr std::size_t mostIssued = 8;
constexpr std::size_t leastIssued = 2;
constexpr std::uint64_t enoughBytes = 64 << 20;

Failure cudaFailure(const Ticket& ticket, cudaError_t error) {
  return Failure("E_INTERNAL",
                 "copying chunk " + std::to_string(ticket.chunk) + " (" + laneNames[static_cast<std::size_t>(ticket.lane)] +
                     ", " + bytesText(static_cast<double>(ticket.bytes)) + ") failed: " + cudaGetErrorName(error) + " (" +
                     cudaGetErrorString(error) + ")",
                 "After most CUDA errors the process cannot use the GPU any more: start again from the last checkpoint.",
                 {{"chunk", static_cast<double>(ticket.chunk)}, {"cudaError", static_cast<double>(error)}});
}

class CudaCopyLane final : public WorkLane {
 public:
  CudaCopyLane(LaneEvents events, int device, std::function<void(void*, MarkId)> awaitMark)
      : WorkLane(std::move(events)), device_(device), awaitMark_(std::move(awaitMark)) {
    cudaSetDevice(device_);
    cudaError_t error = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
    for (std::size_t i = 0; i < mostIssued && error == cudaSuccess; ++i) {
      Timing timing{};
      error = cudaEventCreate(&timing.begin);
      // A thread that spins until a copy is over takes a core from the optimizer all the time: copies wait for moments far ahead.
      if (error == cudaSuccess) error = cudaEventCreateWithFlags(&timing.end, cudaEventBlockingSync);
      if (error == cudaSuccess) timings_.push_back(timing);
    }
    if (error != cudaSuccess) {
      release();
      fail("E_UNSUPPORTED", std::string("a copy stream cannot be made: ") + cudaGetErrorString(error));
    }
    start([this] { run(); });
  }

  ~CudaCopyLane() override {
    stop();
    cudaSetDevice(device_);
    release();
  }

 private:
  struct Timing {
    cudaEvent_t begin;
    cudaEvent_t end;
  };
  struct Issued {
    Ticket* ticket;
    std::size_t timing;
  };

  void release() {
    for (const auto& timing : timings_) {
      cudaEventDestroy(timing.begin);
      cudaEventDestroy(timing.end);
    }
    if (stream_) cudaStreamDestroy(stream_);
  }

  void run() {
    cudaSetDevice(device_);
    std::size_t timing = 0;
    for (;;) {
      Ticket* ticket = mayIssue() ? next(issued_.empty()) : nullptr;
      if (ticket) {
        // Events are reused in the order they were issued; the oldest has been waited for before its turn comes again.
        issue(ticket, timing);
        timing = (timing + 1) % mostIssued;
        continue;
      }
      if (issued_.empty()) return;
      finishOldest();
    }
  }

  bool mayIssue() const {
    return issued_.size() < leastIssued || (issued_.size() < mostIssued && issuedBytes_ < enoughBytes);
  }

  void issue(Ticket* ticket, std::size_t timing) {
    events_.started(ticket);
    const auto fault = faults::hit(faults::Site::copy);
    const auto& work = std::get<CopyWork>(ticket->work);
    cudaError_t error = fault ? cudaErrorUnknown : cudaSuccess;
    if (error == cudaSuccess) {
      if (ticket->mark > 0) awaitMark_(stream_, ticket->mark);
      error = cudaEventRecord(timings_[timing].begin, stream_);
    }
    if (error == cudaSuccess) error = cudaMemcpyAsync(work.to, work.from, ticket->bytes, cudaMemcpyDefault, stream_);
    if (error == cudaSuccess) error = cudaEventRecord(timings_[timing].end, stream_);
    if (error != cudaSuccess) {
      // What is on the stream ends in order; this one never got there.
      while (!issued_.empty()) finishOldest();
      events_.finished(ticket, cudaFailure(*ticket, error));
      return;
    }
    ticket->event = timings_[timing].end;
    issued_.push_back({ticket, timing});
    issuedBytes_ += ticket->bytes;
    events_.issued(ticket);
  }

  void finishOldest() {
    const Issued oldest = issued_.front();
    issued_.pop_front();
    issuedBytes_ -= oldest.ticket->bytes;
    const cudaError_t error = cudaEventSynchronize(timings_[oldest.timing].end);
    float milliseconds = 0;
    if (error == cudaSuccess) {
      // The copy's own time, without what it waited for on the stream.
      cudaEventElapsedTime(&milliseconds, timings_[oldest.timing].begin, timings_[oldest.timing].end);
      oldest.ticket->startUs = nowUs() - milliseconds * 1000.0;
      events_.finished(oldest.ticket, std::nullopt);
    } else {
      events_.finished(oldest.ticket, cudaFailure(*oldest.ticket, error));
    }
  }

  const int device_;
  const std::function<void(void*, MarkId)> awaitMark_;
  cudaStream_t stream_ = nullptr;
  std::vector<Timing> timings_;
  std::deque<Issued> issued_;
  std::uint64_t issuedBytes_ = 0;
};

}  // namespace

std::unique_ptr<WorkLane> makeCudaCopyLane(LaneEvents events, int device,
                                           std::function<void(void*, MarkId)> awaitMark) {
  return std::make_unique<CudaCopyLane>(std::move(events), device, std::move(awaitMark));
}

}  // namespace tierra::executor

#endif  // TIERRA_CUDA
