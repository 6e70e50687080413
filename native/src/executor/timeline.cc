#include "executor/timeline.h"

#include <algorithm>
#include <chrono>

namespace tierra::executor {

double nowUs() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Timeline::begin(int lane, double atUs) {
  std::lock_guard lock(mutex_);
  const auto index = static_cast<std::size_t>(lane);
  if (under_[index]++ == 0) since_[index] = atUs;
}

void Timeline::end(Span span) {
  std::lock_guard lock(mutex_);
  const auto index = static_cast<std::size_t>(span.lane);
  if (--under_[index] == 0) busyUs_[index] += std::max(0.0, span.startUs + span.durationUs - since_[index]);
  if (spans_.size() < capacity_) spans_.push_back(std::move(span));
  else ++dropped_;
}

TimelineReport Timeline::take() {
  std::lock_guard lock(mutex_);
  const double now = nowUs();
  for (std::size_t lane = 0; lane < timelineLanes; ++lane) {
    if (under_[lane] == 0) continue;
    busyUs_[lane] += std::max(0.0, now - since_[lane]);
    since_[lane] = now;
  }
  TimelineReport report{std::move(spans_), busyUs_, dropped_};
  spans_ = {};
  busyUs_ = {};
  dropped_ = 0;
  return report;
}

}  // namespace tierra::executor
