// What each lane did when, on one clock.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "executor/ticket.h"

namespace tierra::executor {

/// Microseconds on the steady clock, the same for every lane and for JavaScript.
double nowUs();

struct Span {
  int lane;  // a LaneName, `waitLane` or `computeLane`
  std::string name;
  double startUs;
  double durationUs;
  std::uint64_t bytes;
  std::uint64_t chunk;
  TicketId ticket;  // of compute: the moment
};

inline constexpr int waitLane = static_cast<int>(laneCount);
inline constexpr int computeLane = waitLane + 1;
inline constexpr std::size_t timelineLanes = laneCount + 2;

struct TimelineReport {
  std::vector<Span> spans;
  std::array<double, timelineLanes> busyUs;  // time with at least one ticket under way, since the last report
  std::uint64_t dropped;                     // spans beyond the capacity
};

class Timeline {
 public:
  explicit Timeline(std::size_t capacity) : capacity_(capacity) {}

  void begin(int lane, double atUs);
  /// Ends what began at `span.startUs`.
  void end(Span span);
  TimelineReport take();

 private:
  const std::size_t capacity_;
  std::mutex mutex_;
  std::vector<Span> spans_;
  std::array<unsigned, timelineLanes> under_{};
  std::array<double, timelineLanes> since_{};
  std::array<double, timelineLanes> busyUs_{};
  std::uint64_t dropped_ = 0;
};

}  // namespace tierra::executor
