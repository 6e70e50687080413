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
      std::visit([&](const auto& buffers) { runSegments(pool, work, buffers, scale); }, work.buffers);
      return std::nullopt;
    } catch (...) {
      return describeCurrentException();
    }
  }

  template <class Buffers>
  static void runSegments(optim::Pool& pool, const UpdateWork& work, const Buffers& buffers, double scale) {
    std::uint64_t at = 0;
    for (const Segment& segment : work.segments) {
      if (!work.preview) keep(buffers, at, segment.begin);
      updateSegment(pool, work, segmentOf(buffers, segment), segment, scale);
      at = segment.begin + segment.count;
    }
    if (!work.preview) keep(buffers, at, buffers.count);
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

  static optim::UpdateBuffers segmentOf(const optim::UpdateBuffers& whole, const Segment& segment) {
    return optim::slice(whole, segment.begin, segment.count);
  }

  static optim::CompressedBuffers segmentOf(const optim::CompressedBuffers& whole, const Segment& segment) {
    const std::size_t weight = optim::elementBytes(whole.weightType);
    const auto at = [&](const optim::CompressedState& state) -> optim::CompressedState {
      return {static_cast<char*>(state.weight) + segment.begin * weight,
              state.low == nullptr ? nullptr : state.low + segment.begin,
              state.m + segment.begin,
              state.root + segment.begin,
              state.mScales + segment.firstScale,
              state.rootScales + segment.firstScale};
    };
    optim::CompressedBuffers part = whole;
    part.gradient = static_cast<const char*>(whole.gradient) + segment.begin * optim::elementBytes(whole.gradientType);
    part.from = at(whole.from);
    part.to = at(whole.to);
    if (whole.weightOut != nullptr) part.weightOut = static_cast<char*>(whole.weightOut) + segment.begin * weight;
    part.count = segment.count;
    return part;
  }

  static optim::DType sumType(const optim::UpdateBuffers& buffers) { return buffers.stateType; }
  static optim::DType sumType(const optim::CompressedBuffers&) { return optim::DType::float32; }

  static void apply(optim::Pool& pool, const UpdateWork& work, const optim::UpdateGroup& group, double scale,
                    const optim::UpdateBuffers& buffers) {
    if (work.preview) optim::parallelPreview(pool, work.rule, group, scale, buffers);
    else optim::parallelUpdate(pool, work.rule, group, scale, buffers);
  }
  static void apply(optim::Pool& pool, const UpdateWork&, const optim::UpdateGroup& group, double scale,
                    const optim::CompressedBuffers& buffers) {
    optim::parallelUpdateCompressed(pool, group, scale, buffers);
  }

  /// Gradients of several uses are summed block by block in the state's type, on their way into the update.
  template <class Buffers>
  static void updateSegment(optim::Pool& pool, const UpdateWork& work, const Buffers& whole, const Segment& segment,
                            double scale) {
    const auto& group = work.groups[segment.group];
    if (work.moreGradients.empty()) return apply(pool, work, group, scale, whole);
    const optim::DType type = whole.gradientType;
    const optim::DType wide = sumType(whole);
    const std::size_t element = optim::elementBytes(type);
    std::vector<char> sum(std::min<std::uint64_t>(sumBlock, segment.count) * optim::elementBytes(wide));
    for (std::uint64_t at = 0; at < segment.count; at += sumBlock) {
      const std::uint64_t count = std::min<std::uint64_t>(sumBlock, segment.count - at);
      optim::parallelCast(pool, sum.data(), wide, static_cast<const char*>(whole.gradient) + at * element, type, count);
      for (const char* more : work.moreGradients) {
        optim::parallelAccumulate(pool, sum.data(), wide, more + (segment.begin + at) * element, type, count);
      }
      auto block = optim::slice(whole, at, count);
      block.gradient = sum.data();
      block.gradientType = wide;
      apply(pool, work, group, scale, block);
    }
  }

  /// A multiple of the blocks that share a scale.
  static constexpr std::uint64_t sumBlock = 1 << 18;
  static_assert(sumBlock % optim::momentBlock == 0);
  static constexpr int yieldingNiceness = 10;

  /// State that no segment covers goes along unchanged when the update is out of place.
  static void keep(const optim::UpdateBuffers& buffers, std::uint64_t begin, std::uint64_t end) {
    const std::size_t element = optim::elementBytes(buffers.stateType);
    keepRange(buffers.master, buffers.masterOut, begin, end, element);
    keepRange(buffers.m, buffers.mOut, begin, end, element);
    keepRange(buffers.v, buffers.vOut, begin, end, element);
  }

  /// Scales belong to segments, all of them.
  static void keep(const optim::CompressedBuffers& buffers, std::uint64_t begin, std::uint64_t end) {
    const optim::CompressedState &from = buffers.from, &to = buffers.to;
    keepRange(from.weight, to.weight, begin, end, optim::elementBytes(buffers.weightType));
    keepRange(from.low, to.low, begin, end, sizeof(*from.low));
    keepRange(from.m, to.m, begin, end, sizeof(*from.m));
    keepRange(from.root, to.root, begin, end, sizeof(*from.root));
  }

  static void keepRange(const void* from, void* to, std::uint64_t begin, std::uint64_t end, std::size_t element) {
    if (from == nullptr || from == to || begin == end) return;
    std::memcpy(static_cast<char*>(to) + begin * element, static_cast<const char*>(from) + begin * element,
                (end - begin) * element);
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
