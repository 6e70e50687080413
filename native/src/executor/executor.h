// Walks tickets: each starts when what it waits for has happened, on its lane, beside all other lanes.
//
// Ids ascend across submissions. A ticket may wait for tickets with lower ids, for a moment of compute, and for a scale
// cell. When one fails, all that wait for it, directly or not, are cancelled; the rest goes on. Nothing throws across a
// thread: the first failure is kept, and whoever waits for a failed or cancelled ticket gets it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "executor/lanes.h"
#include "executor/moments.h"
#include "executor/ticket.h"
#include "executor/timeline.h"
#include "io/failure.h"

namespace tierra::executor {

struct ExecutorOptions {
  int device;  // CUDA device, or -1: copies are memcpy
  unsigned updateThreads;
  std::size_t scaleCells;
  std::size_t timelineCapacity;  // spans between two reports
};

struct PendingTicket {
  TicketId id;
  LaneName lane;
  TicketState state;
  std::string cause;
  std::uint64_t chunk;
  std::vector<TicketId> tickets;  // not finished
  std::int64_t moment;            // not reached, or -1
  int cell;                       // not set, or -1
};

class Executor {
 public:
  explicit Executor(const ExecutorOptions& options);
  /// Cancels what has not started, lets the rest end, joins every thread.
  ~Executor();

  /// All or none: throws NativeError E_ARGUMENT before anything is queued.
  void submit(std::vector<std::unique_ptr<Ticket>> tickets);
  void setScale(int cell, double value);
  void clearScale(int cell);
  void beginMoment();
  void reachMoment(std::int64_t moment);

  /// Blocks until the tickets are done; on a GPU, until toDevice tickets are on their stream, and makes compute wait for
  /// them there. Returns the milliseconds blocked. Throws what failed, or E_STATE when only the caller could go on:
  /// a ticket waits for a moment that was not reached or a cell that is not set.
  double wait(const std::vector<TicketId>& ids, const std::string& cause);
  double drain();
  /// Throws what failed it.
  bool isDone(TicketId id) const;

  std::optional<Failure> failed() const;
  std::vector<PendingTicket> pending() const;
  TimelineReport timeline() { return timeline_.take(); }

 private:
  struct Cell {
    bool isSet = false;
    double value = 1;
  };

  void checkTicket(const Ticket& ticket, TicketId highest) const;
  void admit(std::unique_ptr<Ticket> owned);
  bool momentIsOpen(const Ticket& ticket) const;
  bool cellIsOpen(int cell) const { return cell >= 0 && !cells_[static_cast<std::size_t>(cell)].isSet; }
  int openCell(const Ticket& ticket) const;
  void markMoment(Ticket* ticket);
  void met(Ticket* ticket);
  void dispatch(Ticket* ticket);
  void dispatchDisk(Ticket* ticket);
  void releaseMoments();
  void started(Ticket* ticket);
  void issued(Ticket* ticket);
  void finished(Ticket* ticket, std::optional<Failure> failure);
  void cancelDependents(const Ticket& ticket, const std::shared_ptr<const Failure>& failure);
  bool isIdle() const { return dispatched_ == 0 && completed_ >= reached_; }
  [[noreturn]] void requireProgress(const std::vector<TicketId>& ids) const;
  bool runsOnStream(LaneName lane) const {
    return options_.device >= 0 && (lane == LaneName::toDevice || lane == LaneName::toHost);
  }
  WorkLane& laneOf(LaneName lane);
  void requireCell(int cell) const;

  const ExecutorOptions options_;
  Timeline timeline_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<TicketId, std::unique_ptr<Ticket>> live_;
  std::unordered_map<TicketId, std::shared_ptr<const Failure>> bad_;
  std::shared_ptr<const Failure> first_;
  std::multimap<std::int64_t, Ticket*> onMoment_;
  std::vector<std::vector<Ticket*>> onCell_;
  std::vector<Cell> cells_;
  TicketId highest_ = 0;
  std::int64_t reached_ = -1;    // submitted to the compute stream
  std::int64_t completed_ = -1;  // and done
  std::size_t dispatched_ = 0;
  std::atomic<bool> stopping_{false};

  std::unique_ptr<Moments> moments_;
  std::unique_ptr<WorkLane> toDevice_;
  std::unique_ptr<WorkLane> toHost_;
  std::unique_ptr<WorkLane> update_;
  std::unique_ptr<WorkLane> stage_;
  std::unique_ptr<WorkLane> save_;
};

using ExecutorId = std::uint64_t;

ExecutorId createExecutor(const ExecutorOptions& options);
Executor& findExecutor(ExecutorId id);
void destroyExecutor(ExecutorId id);
/// What every executor has not finished, oldest first, at most `most` lines each; for people.
std::string describePending(std::size_t most);
/// When Node takes the addon down.
void destroyAllExecutors();

}  // namespace tierra::executor
