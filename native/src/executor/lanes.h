// The lanes that have a thread of their own: copies and updates. Disk tickets run on their swap's lanes.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "executor/ticket.h"
#include "io/failure.h"

namespace tierra::executor {

/// What a lane tells the executor. Called on the lane's thread; must not throw.
struct LaneEvents {
  std::function<void(Ticket*)> started;
  std::function<void(Ticket*)> issued;  // GPU only
  std::function<void(Ticket*, std::optional<Failure>)> finished;
};

class WorkLane {
 public:
  virtual ~WorkLane() = default;
  /// Lower ids first among tickets that are ready together.
  void enqueue(Ticket* ticket);

 protected:
  explicit WorkLane(LaneEvents events) : events_(std::move(events)) {}
  void start(std::function<void()> body);
  /// For destructors of derived classes: finishes what is queued, then joins.
  void stop();
  /// The next ticket, or null: when stopping, or when there is none now and `wait` is false.
  Ticket* next(bool wait);

  const LaneEvents events_;

 private:
  struct Earlier {
    bool operator()(const Ticket* a, const Ticket* b) const { return a->id < b->id; }
  };
  std::mutex mutex_;
  std::condition_variable wake_;
  std::set<Ticket*, Earlier> queue_;
  bool stop_ = false;
  std::thread thread_;
};

/// memcpy between arenas in RAM.
std::unique_ptr<WorkLane> makeCopyLane(LaneEvents events);

/// The same for a checkpoint's bytes.
std::unique_ptr<WorkLane> makeStageLane(LaneEvents events);

/// Hashes and writes a checkpoint's files.
std::unique_ptr<WorkLane> makeSaveLane(LaneEvents events);

struct UpdateLaneOptions {
  unsigned threads;
  /// Runs where nothing else wants a core: beside a GPU, the threads that feed it go first, or it waits milliseconds for each.
  bool yields;
};

/// Optimizer updates; `scaleOf` reads a scale cell that is set.
std::unique_ptr<WorkLane> makeUpdateLane(LaneEvents events, const UpdateLaneOptions& options,
                                         std::function<double(int)> scaleOf);

#ifdef TIERRA_CUDA
/// cudaMemcpyAsync on a stream of its own. `awaitMark(stream, mark)` makes that stream wait for compute.
std::unique_ptr<WorkLane> makeCudaCopyLane(LaneEvents events, int device,
                                           std::function<void(void*, MarkId)> awaitMark);
#endif

}  // namespace tierra::executor
