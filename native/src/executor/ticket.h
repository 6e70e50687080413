// A ticket: one transfer or optimizer update, and what must have happened before it may start.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "io/appendFile.h"
#include "io/swap.h"
#include "memory/arena.h"
#include "optim/compressed.h"
#include "optim/update.h"

namespace tierra::executor {

using TicketId = std::uint64_t;

/// An event on the compute stream.
using MarkId = std::uint64_t;

// `stage` and `save` carry a checkpoint: from where bytes are to a buffer, and from there to files.
enum class LaneName { read, write, toDevice, toHost, update, stage, save };
inline constexpr std::size_t laneCount = 7;
inline constexpr std::array<const char*, laneCount> laneNames = {"read",   "write", "toDevice", "toHost",
                                                                 "update", "stage", "save"};

/// Keeps a swap open for as long as a ticket names it. Not an owner: the last owner of a swap joins its lanes, and must
/// not be one of them.
class SwapUse {
 public:
  explicit SwapUse(io::Swap* swap) : swap_(swap) { swap_->addUser(); }
  SwapUse(SwapUse&& other) noexcept : swap_(std::exchange(other.swap_, nullptr)) {}
  SwapUse& operator=(SwapUse&& other) noexcept {
    std::swap(swap_, other.swap_);
    return *this;
  }
  ~SwapUse() {
    if (swap_) swap_->dropUser();
  }
  io::Swap* operator->() const { return swap_; }

 private:
  io::Swap* swap_;
};

struct DiskWork {
  SwapUse swap;
  memory::ArenaUse arena;
  bool write;
  bool sync;
  std::uint64_t swapOffset;
  char* data;
};

struct CopyWork {
  memory::ArenaUse source;
  memory::ArenaUse target;
  const char* from = nullptr;
  char* to = nullptr;
  /// Of a source that is a tensor of libtorch's and not an arena.
  std::shared_ptr<void> keptAlive;
};

struct SavePiece {
  std::shared_ptr<io::AppendFile> file;
  const char* data;
  std::uint64_t bytes;
};

/// Appends pieces, then finishes files. Never fails: a file keeps its failure for whoever asks for its result, so that a
/// full disk costs a checkpoint and not the training.
struct SaveWork {
  memory::ArenaUse arena;
  std::vector<SavePiece> pieces;
  std::vector<std::shared_ptr<io::AppendFile>> finish;
};

struct Segment {
  std::uint64_t begin;
  std::uint64_t count;
  std::size_t group;
  /// Of compressed states: where the segment's scales begin.
  std::uint64_t firstScale;
};

/// into (=|+=) from: a host accumulator takes a micro-batch's gradient.
struct AccumulateWork {
  std::vector<memory::ArenaUse> arenas;
  char* into;
  optim::DType intoType;
  const char* from;
  optim::DType fromType;
  std::uint64_t count;
  bool add;
};

struct UpdateWork {
  std::vector<memory::ArenaUse> arenas;
  optim::Rule rule;
  /// Of the whole chunk; the scale and the groups come with each segment. Compressed states: each segment has blocks of its own.
  std::variant<optim::UpdateBuffers, optim::CompressedBuffers> buffers;
  /// Gradients of other uses, of the same element type: added to the first in this order, in the state's type.
  std::vector<const char*> moreGradients;
  std::vector<Segment> segments;
  std::vector<optim::UpdateGroup> groups;
  int scaleCell;  // -1: scale 1
  /// Exact states only: the new parameters, and the state stays as it is.
  bool preview = false;
};

// waiting --(all it waits for has happened)--> ready --(its lane takes it)--> running --> done | failed
// waiting --(something it waits for failed, or the executor is destroyed)--> cancelled
// On a GPU a copy is "issued" between running and done: it is on its stream, and streams may wait for it.
enum class TicketState { waiting, ready, running, issued };

struct Ticket {
  TicketId id = 0;
  LaneName lane = LaneName::read;
  std::vector<TicketId> after;
  std::int64_t afterMoment = -1;
  int afterCell = -1;
  std::string cause;
  std::uint64_t chunk = 0;
  std::uint64_t step = 0;
  std::uint64_t bytes = 0;
  std::variant<CopyWork, DiskWork, UpdateWork, AccumulateWork, SaveWork> work;

  TicketState state = TicketState::waiting;
  unsigned unmet = 0;
  std::vector<TicketId> dependents;
  double startUs = 0;
  MarkId mark = 0;        // of `afterMoment`, once that was reached; 0: over, or a lane of the host
  void* event = nullptr;  // cudaEvent_t once issued

  bool waitsForScale() const {
    const auto* update = std::get_if<UpdateWork>(&work);
    return update && update->scaleCell >= 0;
  }
};

}  // namespace tierra::executor
