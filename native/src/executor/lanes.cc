#include "executor/lanes.h"

#include <cstring>

#include "io/faults.h"
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

class UpdateLane final : public WorkLane {
 public:
  UpdateLane(LaneEvents events, unsigned threads, std::function<double(int)> scaleOf)
      : WorkLane(std::move(events)), scaleOf_(std::move(scaleOf)), threads_(threads) {
    start([this] {
      // Made here, so that the pool's caller, which works too, is this thread.
      optim::Pool pool(threads_);
      while (Ticket* ticket = next(true)) {
        events_.started(ticket);
        auto failed = injected(faults::Site::update, *ticket, "updating");
        if (!failed) failed = run(pool, std::get<UpdateWork>(ticket->work));
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
        optim::parallelUpdate(pool, work.rule, work.groups[segment.group], scale,
                              optim::slice(work.buffers, segment.begin, segment.count));
        at = segment.begin + segment.count;
      }
      keep(work.buffers, at, work.buffers.count);
      return std::nullopt;
    } catch (...) {
      return describeCurrentException();
    }
  }

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

std::unique_ptr<WorkLane> makeUpdateLane(LaneEvents events, unsigned threads, std::function<double(int)> scaleOf) {
  return std::make_unique<UpdateLane>(std::move(events), threads, std::move(scaleOf));
}

}  // namespace tierra::executor
