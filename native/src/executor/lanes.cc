#include "executor/lanes.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "io/faults.h"
#include "optim/elementwise.h"
#include "optim/pool.h"

namespace tierra::executor {

void WorkLane::enqueue(Ticket* ticket) {
  {
    std::lock_guard lock(mutex_);
    queue_.insert(ticket);
  }
  wake_.notify_one();
}

void WorkLane::start(std::function<void()> body) { thread_ = std::thread(std::move(body)); }

void WorkLane::stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Ticket* WorkLane::next(bool wait) {
  std::unique_lock lock(mutex_);
  if (wait) wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
  if (queue_.empty()) return nullptr;
  Ticket* ticket = *queue_.begin();
  queue_.erase(queue_.begin());
  return ticket;
}

namespace {

std::optional<Failure> injected(faults::Site site, const Ticket& ticket, const char* what) {
  const auto fault = faults::hit(site);
  if (!fault) return std::nullopt;
  return Failure("E_IO", std::string(what) + " chunk " + std::to_string(ticket.chunk) + " failed: " + errnoText(fault->error),
                 "", {{"chunk", static_cast<double>(ticket.chunk)}, {"errno", static_cast<double>(fault->error)}});
}

class CopyLane final : public WorkLane {
 public:
  explicit CopyLane(LaneEvents events) : WorkLane(std::move(events)) {
    start([this] {
      while (Ticket* ticket = next(true)) {
        events_.started(ticket);
        auto failed = injected(faults::Site::copy, *ticket, "copying");
        if (!failed) {
          const auto& work = std::get<CopyWork>(ticket->work);
          // memmove: a plan may shift a chunk within one arena. glibc streams past the cache for large blocks.
          std::memmove(work.to, work.from, ticket->bytes);
        }
        events_.finished(ticket, std::move(failed));
      }
    });
  }
  ~CopyLane() override { stop(); }
};

class StageLane final : public WorkLane {
 public:
  explicit StageLane(LaneEvents events) : WorkLane(std::move(events)) {
    start([this] {
      while (Ticket* ticket = next(true)) {
        events_.started(ticket);
        // Only to be killed at: a copy in memory has no way to fail.
        faults::hit(faults::Site::saveCopy);
        auto& work = std::get<CopyWork>(ticket->work);
        std::memcpy(work.to, work.from, ticket->bytes);
        events_.finished(ticket, std::nullopt);
      }
    });
  }
  ~StageLane() override { stop(); }
};

class SaveLane final : public WorkLane {
 public:
  explicit SaveLane(LaneEvents events) : WorkLane(std::move(events)) {
    start([this] {
      while (Ticket* ticket = next(true)) {
        events_.started(ticket);
        const auto& work = std::get<SaveWork>(ticket->work);
        for (const SavePiece& piece : work.pieces) piece.file->append(piece.data, piece.bytes);
        for (const auto& file : work.finish) file->finish();
        events_.finished(ticket, std::nullopt);
      }
    });
  }
  ~SaveLane() override { stop(); }
};

class UpdateLane final : public WorkLane {
 public:
  UpdateLane(LaneEvents events, const UpdateLaneOptions& options, std::function<double(int)> scaleOf)
      : WorkLane(std::move(events)), scaleOf_(std::move(scaleOf)), threads_(options.threads) {
    start([this, yields = options.yields] {
      // The pool's threads inherit it.
      if (yields) setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), yieldingNiceness);
      // Made here, so that the pool's caller, which works too, is this thread.
      optim::Pool pool(threads_);
      while (Ticket* ticket = next(true)) {
        events_.started(ticket);
        auto failed = injected(faults::Site::update, *ticket, "updating");
        if (!failed) {
          const auto* sum = std::get_if<AccumulateWork>(&ticket->work);
          failed = sum ? run(pool, *sum) : run(pool, std::get<UpdateWork>(ticket->work));
        }
        events_.finished(ticket, std::move(failed));
      }
    });
  }
  ~UpdateLane() override { stop(); }

 private:
  std::optional<Failure> run(optim::Pool& pool, const UpdateWork& work) const {
    try {
      const double scale = work.scaleCell < 0 ? 1.0 : scaleOf_(work.scaleCell);
      std::uint64_t at = 0;
      for (const Segment& segment : work.segments) {
        keep(work.buffers, at, segment.begin);
        updateSegment(pool, work, segment, scale);
        at = segment.begin + segment.count;
      }
      keep(work.buffers, at, work.buffers.count);
      return std::nullopt;
    } catch (...) {
      return describeCurrentException();
    }
  }

  static std::optional<Failure> run(optim::Pool& pool, const AccumulateWork& work) {
    try {
      if (work.add) {
        optim::parallelAccumulate(pool, work.into, work.intoType, work.from, work.fromType, work.count);
      } else {
        optim::parallelCast(pool, work.into, work.intoType, work.from, work.fromType, work.count);
      }
      return std::nullopt;
    } catch (...) {
      return describeCurrentException();
    }
  }

  /// Gradients of several uses are summed block by block in the state's type, on their way into the update.
  void updateSegment(optim::Pool& pool, const UpdateWork& work, const Segment& segment, double scale) const {
    const auto& group = work.groups[segment.group];
    if (work.moreGradients.empty()) {
      optim::parallelUpdate(pool, work.rule, group, scale, optim::slice(work.buffers, segment.begin, segment.count));
      return;
    }
    const optim::DType type = work.buffers.gradientType;
    const optim::DType wide = work.buffers.stateType;
    const std::size_t element = optim::elementBytes(type);
    const std::uint64_t end = segment.begin + segment.count;
    std::vector<char> sum(std::min<std::uint64_t>(sumBlock, segment.count) * optim::elementBytes(wide));
    for (std::uint64_t at = segment.begin; at < end; at += sumBlock) {
      const std::uint64_t count = std::min<std::uint64_t>(sumBlock, end - at);
      const auto* first = static_cast<const char*>(work.buffers.gradient);
      optim::parallelCast(pool, sum.data(), wide, first + at * element, type, count);
      for (const char* more : work.moreGradients) {
        optim::parallelAccumulate(pool, sum.data(), wide, more + at * element, type, count);
      }
      auto block = optim::slice(work.buffers, at, count);
      block.gradient = sum.data();
      block.gradientType = wide;
      optim::parallelUpdate(pool, work.rule, group, scale, block);
    }
  }

  static constexpr std::uint64_t sumBlock = 1 << 18;
  static constexpr int yieldingNiceness = 10;

  /// State that no segment covers goes along unchanged when the update is out of place.
  static void keep(const optim::UpdateBuffers& buffers, std::uint64_t begin, std::uint64_t end) {
    if (begin == end) return;
    const auto copy = [&](const void* from, void* to) {
      const std::size_t element = optim::elementBytes(buffers.stateType);
      if (from == nullptr || from == to) return;
      std::memcpy(static_cast<char*>(to) + begin * element, static_cast<const char*>(from) + begin * element,
                  (end - begin) * element);
    };
    copy(buffers.master, buffers.masterOut);
    copy(buffers.m, buffers.mOut);
    copy(buffers.v, buffers.vOut);
  }

  const std::function<double(int)> scaleOf_;
  const unsigned threads_;
};

}  // namespace

std::unique_ptr<WorkLane> makeCopyLane(LaneEvents events) { return std::make_unique<CopyLane>(std::move(events)); }

std::unique_ptr<WorkLane> makeStageLane(LaneEvents events) { return std::make_unique<StageLane>(std::move(events)); }

std::unique_ptr<WorkLane> makeSaveLane(LaneEvents events) { return std::make_unique<SaveLane>(std::move(events)); }

std::unique_ptr<WorkLane> makeUpdateLane(LaneEvents events, const UpdateLaneOptions& options,
                                         std::function<double(int)> scaleOf) {
  return std::make_unique<UpdateLane>(std::move(events), options, std::move(scaleOf));
}

}  // namespace tierra::executor
