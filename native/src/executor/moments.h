// How far compute has come, as the lanes see it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "executor/ticket.h"

namespace tierra::executor {

/// On the CPU a moment is over when it is reached. On a GPU reaching it records an event: streams may wait for that at
/// once, lanes that work on the host only when the event has happened, which a thread of our own watches.
class Moments {
 public:
  virtual ~Moments() = default;
  /// What is submitted from now on belongs to the moment that is reached next.
  virtual void begin() = 0;
  /// Compute of `moment`, and of all before it, has been submitted.
  virtual void reach(std::int64_t moment) = 0;
  /// Where a reached moment ends on the compute stream, or 0 when that is over: the newest mark, of a moment that was reached several times.
  virtual MarkId markOf(std::int64_t moment) = 0;
  /// Makes `stream` wait for a mark.
  virtual void awaitOnStream(void* stream, MarkId mark) = 0;
  /// Makes compute wait for an event of a copy.
  virtual void computeAwaits(void* event) = 0;
};

/// When compute of a moment began and ended, in `nowUs`; the device's own time on a GPU. The same where it was not begun.
struct MomentSpan {
  std::int64_t moment;
  double startUs;
  double endUs;
};

/// Called in ascending order: on the CPU by `reach` itself, on a GPU by the watching thread.
using MomentCompleted = std::function<void(const MomentSpan&)>;

std::unique_ptr<Moments> makeCpuMoments(MomentCompleted completed);

#ifdef TIERRA_CUDA
std::unique_ptr<Moments> makeCudaMoments(int device, MomentCompleted completed);
#endif

}  // namespace tierra::executor
