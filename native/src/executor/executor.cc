#include "executor/executor.h"

#include <algorithm>
#include <unordered_set>

namespace tierra::executor {
namespace {

// Never destroyed: when the process ends without `destroyAllExecutors`, threads must not find half a table.
std::mutex tableMutex;
auto& table = *new std::map<ExecutorId, std::unique_ptr<Executor>>;
ExecutorId nextId = 1;

/// Enters the time from its first `block` to its end as a wait.
class WaitSpan {
 public:
  WaitSpan(Timeline& timeline, std::string cause, TicketId ticket)
      : timeline_(timeline), cause_(std::move(cause)), ticket_(ticket) {}
  ~WaitSpan() {
    if (startUs_ > 0) timeline_.end({waitLane, cause_, startUs_, nowUs() - startUs_, 0, 0, ticket_});
  }
  void block() {
    if (startUs_ > 0) return;
    startUs_ = nowUs();
    timeline_.begin(waitLane, startUs_);
  }
  double milliseconds() const { return startUs_ > 0 ? (nowUs() - startUs_) / 1000.0 : 0; }

 private:
  Timeline& timeline_;
  const std::string cause_;
  const TicketId ticket_;
  double startUs_ = 0;
};

std::string nameOf(const Ticket& ticket) {
  return "ticket " + std::to_string(ticket.id) + " (" + laneNames[static_cast<std::size_t>(ticket.lane)] + ", chunk " +
         std::to_string(ticket.chunk) + ", " + ticket.cause + ")";
}

}  // namespace

Executor::Executor(const ExecutorOptions& options)
    : options_(options), timeline_(options.timelineCapacity), onCell_(options.scaleCells), cells_(options.scaleCells) {
  if (options.updateThreads == 0) fail("E_ARGUMENT", "an executor needs at least one update thread");
  const LaneEvents events{[this](Ticket* ticket) { started(ticket); }, [this](Ticket* ticket) { issued(ticket); },
                          [this](Ticket* ticket, std::optional<Failure> failure) { finished(ticket, std::move(failure)); }};
  const auto completed = [this](const MomentSpan& span) {
    if (span.endUs > span.startUs) {
      timeline_.begin(computeLane, span.startUs);
      timeline_.end({computeLane, "", span.startUs, span.endUs - span.startUs, 0, 0, static_cast<TicketId>(span.moment)});
    }
    std::lock_guard lock(mutex_);
    completed_ = std::max(completed_, span.moment);
    releaseMoments();
    changed_.notify_all();
  };
  if (options.device >= 0) {
#ifdef TIERRA_CUDA
    moments_ = makeCudaMoments(options.device, completed);
    const auto awaitMark = [this](void* stream, MarkId mark) { moments_->awaitOnStream(stream, mark); };
    toDevice_ = makeCudaCopyLane(events, options.device, awaitMark);
    toHost_ = makeCudaCopyLane(events, options.device, awaitMark);
#else
    fail("E_UNSUPPORTED", "an executor for cuda:" + std::to_string(options.device) + " was asked of a build without CUDA");
#endif
  } else {
    moments_ = makeCpuMoments(completed);
    toDevice_ = makeCopyLane(events);
    toHost_ = makeCopyLane(events);
  }
  stage_ = makeStageLane(events);
  save_ = makeSaveLane(events);
  update_ = makeUpdateLane(events, {options.updateThreads, options.device >= 0}, [this](int cell) {
    std::lock_guard lock(mutex_);
    return cells_[static_cast<std::size_t>(cell)].value;
  });
}

Executor::~Executor() {
  {
    std::unique_lock lock(mutex_);
    stopping_.store(true);
    onMoment_.clear();
    for (auto& waiting : onCell_) waiting.clear();
    for (auto it = live_.begin(); it != live_.end();) {
      it = it->second->state == TicketState::waiting ? live_.erase(it) : std::next(it);
    }
    changed_.wait(lock, [this] { return dispatched_ == 0; });
  }
  // Lanes first: their threads call back into this object.
  toDevice_.reset();
  toHost_.reset();
  update_.reset();
  stage_.reset();
  save_.reset();
  moments_.reset();
}

void Executor::requireCell(int cell) const {
  if (cell < 0 || static_cast<std::size_t>(cell) >= cells_.size()) {
    fail("E_ARGUMENT", "there is no scale cell " + std::to_string(cell) + "; the executor has " + std::to_string(cells_.size()));
  }
}

void Executor::checkTicket(const Ticket& ticket, TicketId highest) const {
  if (ticket.id <= highest) {
    fail("E_ARGUMENT", "ticket ids must ascend: " + std::to_string(ticket.id) + " came after " + std::to_string(highest));
  }
  for (const TicketId id : ticket.after) {
    if (id >= ticket.id) {
      fail("E_ARGUMENT", nameOf(ticket) + " cannot wait for ticket " + std::to_string(id) + ": it must have a lower id");
    }
  }
  if (ticket.afterCell >= 0) requireCell(ticket.afterCell);
  if (ticket.waitsForScale()) requireCell(std::get<UpdateWork>(ticket.work).scaleCell);
}

void Executor::submit(std::vector<std::unique_ptr<Ticket>> tickets) {
  std::lock_guard lock(mutex_);
  TicketId highest = highest_;
  for (const auto& ticket : tickets) {
    checkTicket(*ticket, highest);
    highest = ticket->id;
  }
  highest_ = highest;
  for (auto& ticket : tickets) admit(std::move(ticket));
}

bool Executor::momentIsOpen(const Ticket& ticket) const {
  return ticket.afterMoment > (runsOnStream(ticket.lane) ? reached_ : completed_);
}

/// An unset cell that the ticket waits for, or -1.
int Executor::openCell(const Ticket& ticket) const {
  if (cellIsOpen(ticket.afterCell)) return ticket.afterCell;
  if (ticket.waitsForScale()) {
    const int cell = std::get<UpdateWork>(ticket.work).scaleCell;
    if (cellIsOpen(cell)) return cell;
  }
  return -1;
}

void Executor::admit(std::unique_ptr<Ticket> owned) {
  Ticket* ticket = owned.get();
  // An id below the highest that is neither live nor bad is done.
  for (const TicketId id : ticket->after) {
    const auto bad = bad_.find(id);
    if (bad != bad_.end()) {
      bad_.emplace(ticket->id, bad->second);
      return;
    }
  }
  live_.emplace(ticket->id, std::move(owned));
  // One more than it waits for, so that it cannot start while this function still counts.
  ticket->unmet = 1;
  for (const TicketId id : ticket->after) {
    const auto found = live_.find(id);
    if (found == live_.end()) continue;
    found->second->dependents.push_back(ticket->id);
    ++ticket->unmet;
  }
  if (momentIsOpen(*ticket)) {
    onMoment_.emplace(ticket->afterMoment, ticket);
    ++ticket->unmet;
  } else {
    markMoment(ticket);
  }
  const int scaleCell = ticket->waitsForScale() ? std::get<UpdateWork>(ticket->work).scaleCell : -1;
  for (const int cell : {ticket->afterCell, scaleCell == ticket->afterCell ? -1 : scaleCell}) {
    if (!cellIsOpen(cell)) continue;
    onCell_[static_cast<std::size_t>(cell)].push_back(ticket);
    ++ticket->unmet;
  }
  met(ticket);
}

void Executor::met(Ticket* ticket) {
  if (--ticket->unmet == 0) dispatch(ticket);
}

WorkLane& Executor::laneOf(LaneName lane) {
  switch (lane) {
    case LaneName::toDevice:
      return *toDevice_;
    case LaneName::toHost:
      return *toHost_;
    case LaneName::stage:
      return *stage_;
    case LaneName::save:
      return *save_;
    default:
      return *update_;
  }
}

void Executor::dispatch(Ticket* ticket) {
  ticket->state = TicketState::ready;
  ++dispatched_;
  if (std::holds_alternative<DiskWork>(ticket->work)) dispatchDisk(ticket);
  else laneOf(ticket->lane).enqueue(ticket);
}

void Executor::dispatchDisk(Ticket* ticket) {
  const auto& work = std::get<DiskWork>(ticket->work);
  io::Job job;
  job.sync = work.sync;
  job.priority = ticket->id;
  job.offset = work.swapOffset;
  job.data = work.data;
  job.bytes = ticket->bytes;
  job.chunk = ticket->chunk;
  job.step = ticket->step;
  job.abandoned = &stopping_;
  job.started = [this, ticket] { started(ticket); };
  job.done = [this, ticket](std::optional<Failure> failure) { finished(ticket, std::move(failure)); };
  work.swap->enqueue(work.write, std::move(job));
}

void Executor::started(Ticket* ticket) {
  const double now = nowUs();
  {
    std::lock_guard lock(mutex_);
    ticket->state = TicketState::running;
    ticket->startUs = now;
  }
  // Copies on a stream are entered when they end, with the time the device took.
  if (!runsOnStream(ticket->lane)) timeline_.begin(static_cast<int>(ticket->lane), now);
}

void Executor::issued(Ticket* ticket) {
  {
    std::lock_guard lock(mutex_);
    ticket->state = TicketState::issued;
  }
  changed_.notify_all();
}

void Executor::finished(Ticket* ticket, std::optional<Failure> failure) {
  const double now = nowUs();
  const int lane = static_cast<int>(ticket->lane);
  std::unique_ptr<Ticket> owned;
  {
    std::lock_guard lock(mutex_);
    if (ticket->state != TicketState::ready) {
      if (runsOnStream(ticket->lane)) timeline_.begin(lane, ticket->startUs);
      timeline_.end({lane, ticket->cause, ticket->startUs, now - ticket->startUs, ticket->bytes, ticket->chunk, ticket->id});
    }
    const auto found = live_.find(ticket->id);
    owned = std::move(found->second);
    live_.erase(found);
    --dispatched_;
    if (failure) {
      const auto kept = std::make_shared<const Failure>(std::move(*failure));
      if (!first_) first_ = kept;
      bad_.emplace(ticket->id, kept);
      cancelDependents(*ticket, kept);
    } else if (!stopping_.load()) {
      for (const TicketId id : ticket->dependents) {
        const auto dependent = live_.find(id);
        if (dependent != live_.end()) met(dependent->second.get());
      }
    }
    // Its arenas and swap are free again before anyone learns that it is done.
    owned.reset();
    changed_.notify_all();
  }
}

void Executor::cancelDependents(const Ticket& ticket, const std::shared_ptr<const Failure>& failure) {
  std::vector<TicketId> doomed = ticket.dependents;
  while (!doomed.empty()) {
    const TicketId id = doomed.back();
    doomed.pop_back();
    const auto found = live_.find(id);
    if (found == live_.end()) continue;
    Ticket* dependent = found->second.get();
    bad_.emplace(id, failure);
    doomed.insert(doomed.end(), dependent->dependents.begin(), dependent->dependents.end());
    std::erase_if(onMoment_, [dependent](const auto& entry) { return entry.second == dependent; });
    for (auto& waiting : onCell_) std::erase(waiting, dependent);
    live_.erase(found);
  }
}

void Executor::setScale(int cell, double value) {
  std::lock_guard lock(mutex_);
  requireCell(cell);
  const auto index = static_cast<std::size_t>(cell);
  cells_[index] = {true, value};
  const auto waiting = std::move(onCell_[index]);
  onCell_[index].clear();
  for (Ticket* ticket : waiting) met(ticket);
}

void Executor::clearScale(int cell) {
  std::lock_guard lock(mutex_);
  requireCell(cell);
  for (const auto& [id, ticket] : live_) {
    const auto* update = std::get_if<UpdateWork>(&ticket->work);
    if (update && update->scaleCell == cell) {
      fail("E_STATE", "scale cell " + std::to_string(cell) + " cannot be cleared: " + nameOf(*ticket) + " still reads it");
    }
  }
  cells_[static_cast<std::size_t>(cell)] = {};
}

void Executor::beginMoment() { moments_->begin(); }

void Executor::reachMoment(std::int64_t moment) {
  {
    std::lock_guard lock(mutex_);
    if (moment < reached_) {
      fail("E_STATE", "moment " + std::to_string(moment) + " was reached after moment " + std::to_string(reached_));
    }
  }
  // Outside the lock: it calls back, or records an event that a copy lane may be waiting to use.
  moments_->reach(moment);
  std::lock_guard lock(mutex_);
  reached_ = moment;
  releaseMoments();
}

void Executor::releaseMoments() {
  const auto highest = std::max(reached_, completed_);
  for (auto it = onMoment_.begin(); it != onMoment_.end() && it->first <= highest;) {
    Ticket* ticket = it->second;
    if (momentIsOpen(*ticket)) {
      ++it;
      continue;
    }
    it = onMoment_.erase(it);
    markMoment(ticket);
    met(ticket);
  }
}

/// Kept now: by the time the copy is on its stream later moments are, too, and it has nothing to do with those.
void Executor::markMoment(Ticket* ticket) {
  if (ticket->afterMoment >= 0 && runsOnStream(ticket->lane)) ticket->mark = moments_->markOf(ticket->afterMoment);
}

double Executor::wait(const std::vector<TicketId>& ids, const std::string& cause) {
  std::unique_lock lock(mutex_);
  WaitSpan span(timeline_, cause, ids.empty() ? 0 : ids.back());
  for (const TicketId id : ids) {
    if (id > highest_) fail("E_ARGUMENT", "ticket " + std::to_string(id) + " was never submitted");
    for (;;) {
      const auto bad = bad_.find(id);
      if (bad != bad_.end()) throw Failure(*bad->second);
      const auto found = live_.find(id);
      if (found == live_.end()) break;
      const Ticket& ticket = *found->second;
      if (ticket.lane == LaneName::toDevice && ticket.state == TicketState::issued) {
        moments_->computeAwaits(ticket.event);
        break;
      }
      if (isIdle()) requireProgress({id});
      span.block();
      changed_.wait(lock);
    }
  }
  return span.milliseconds();
}

double Executor::drain() {
  std::unique_lock lock(mutex_);
  WaitSpan span(timeline_, "drain", 0);
  while (!live_.empty()) {
    if (isIdle()) {
      std::vector<TicketId> all;
      for (const auto& [id, ticket] : live_) all.push_back(id);
      requireProgress(all);
    }
    span.block();
    changed_.wait(lock);
  }
  if (first_) throw Failure(*first_);
  return span.milliseconds();
}

bool Executor::isDone(TicketId id) const {
  std::lock_guard lock(mutex_);
  if (id > highest_) fail("E_ARGUMENT", "ticket " + std::to_string(id) + " was never submitted");
  const auto bad = bad_.find(id);
  if (bad != bad_.end()) throw Failure(*bad->second);
  return !live_.contains(id);
}

/// Nothing runs or will start by itself, and the caller, who alone reaches moments and sets cells, is about to block.
void Executor::requireProgress(const std::vector<TicketId>& ids) const {
  std::vector<TicketId> open = ids;
  std::unordered_set<TicketId> seen;
  while (!open.empty()) {
    const TicketId id = open.back();
    open.pop_back();
    const auto found = live_.find(id);
    if (found == live_.end() || !seen.insert(id).second) continue;
    const Ticket& ticket = *found->second;
    if (ticket.state != TicketState::waiting) continue;
    const int cell = openCell(ticket);
    const bool noMoment = ticket.afterMoment > reached_;
    if (noMoment || cell >= 0) {
      fail("E_STATE",
           "waiting would never end: " + nameOf(ticket) +
               (noMoment ? " needs moment " + std::to_string(ticket.afterMoment) + ", " + std::to_string(reached_) +
                               " is the last that was reached"
                         : " needs scale cell " + std::to_string(cell) + ", which is not set"),
           {}, {{"ticket", static_cast<double>(id)}, {"chunk", static_cast<double>(ticket.chunk)}});
    }
    open.insert(open.end(), ticket.after.begin(), ticket.after.end());
  }
  fail("E_INTERNAL", "no ticket runs, and none of those waited for says why (this is a defect in Tierra, please report it)");
}

std::optional<Failure> Executor::failed() const {
  std::lock_guard lock(mutex_);
  return first_ ? std::optional<Failure>(*first_) : std::nullopt;
}

std::vector<PendingTicket> Executor::pending() const {
  std::lock_guard lock(mutex_);
  std::vector<PendingTicket> out;
  for (const auto& [id, ticket] : live_) {
    PendingTicket entry{id, ticket->lane, ticket->state, ticket->cause, ticket->chunk, {}, -1, -1};
    if (ticket->state == TicketState::waiting) {
      for (const TicketId other : ticket->after) {
        if (live_.contains(other)) entry.tickets.push_back(other);
      }
      if (momentIsOpen(*ticket)) entry.moment = ticket->afterMoment;
      entry.cell = openCell(*ticket);
    }
    out.push_back(std::move(entry));
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return out;
}

ExecutorId createExecutor(const ExecutorOptions& options) {
  auto made = std::make_unique<Executor>(options);
  std::lock_guard lock(tableMutex);
  table.emplace(nextId, std::move(made));
  return nextId++;
}

Executor& findExecutor(ExecutorId id) {
  std::lock_guard lock(tableMutex);
  const auto found = table.find(id);
  if (found == table.end()) fail("E_STATE", "there is no executor " + std::to_string(id) + " (destroyed?)");
  return *found->second;
}

void destroyExecutor(ExecutorId id) {
  findExecutor(id);
  std::unique_ptr<Executor> gone;
  {
    std::lock_guard lock(tableMutex);
    gone = std::move(table.at(id));
    table.erase(id);
  }
}

std::string describePending(std::size_t most) {
  static constexpr std::array<const char*, 4> states = {"waiting", "ready", "running", "on its stream"};
  std::lock_guard lock(tableMutex);
  std::string text;
  for (const auto& [id, executor] : table) {
    const auto tickets = executor->pending();
    if (tickets.empty()) continue;
    text += "  executor " + std::to_string(id) + ": " + std::to_string(tickets.size()) + " transfers and updates unfinished\n";
    for (std::size_t i = 0; i < std::min(most, tickets.size()); ++i) {
      const auto& ticket = tickets[i];
      text += "    " + std::to_string(ticket.id) + " " + laneNames[static_cast<std::size_t>(ticket.lane)] + " of chunk " +
              std::to_string(ticket.chunk) + " (" + ticket.cause + "): " + states[static_cast<std::size_t>(ticket.state)];
      for (std::size_t j = 0; j < std::min<std::size_t>(3, ticket.tickets.size()); ++j) {
        text += (j == 0 ? " for " : ", ") + std::to_string(ticket.tickets[j]);
      }
      if (ticket.moment >= 0) text += " for compute of moment " + std::to_string(ticket.moment);
      if (ticket.cell >= 0) text += " for the gradient norm";
      text += "\n";
    }
    if (tickets.size() > most) text += "    and " + std::to_string(tickets.size() - most) + " more\n";
  }
  return text.empty() ? "  no transfer and no update is unfinished: the thread that trains is busy or waits for something else\n" : text;
}

void destroyAllExecutors() {
  std::map<ExecutorId, std::unique_ptr<Executor>> gone;
  std::lock_guard lock(tableMutex);
  gone.swap(table);
}

}  // namespace tierra::executor
