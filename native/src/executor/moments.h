// How far compute has come, as the lanes see it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace tierra::executor {

/// On the CPU a moment is over when it is reached. On a GPU reaching it records an event: streams may wait for that at
/// once, lanes that work on the host only when the event has happened, which a thread of our own watches.
class Moments {
 public:
  virtual ~Moments() = default;
  /// Compute of `moment`, and of all before it, has been submitted.
  virtual void reach(std::int64_t moment) = 0;
  /// Makes `stream` wait for a reached moment.
  virtual void awaitOnStream(void* stream, std::int64_t moment) = 0;
  /// Makes compute wait for an event of a copy.
  virtual void computeAwaits(void* event) = 0;
};

/// `completed(moment)` is called in ascending order: on the CPU by `reach` itself, on a GPU by the watching thread.
std::unique_ptr<Moments> makeCpuMoments(std::function<void(std::int64_t)> completed);

#ifdef TIERRA_CUDA
std::unique_ptr<Moments> makeCudaMoments(int device, std::function<void(std::int64_t)> completed);
#endif

}  // namespace tierra::executor
