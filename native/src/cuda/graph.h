// Graphs of launches: what a thread gives a device between `begin` and `end` is recorded instead of run, and later runs as often
// as wanted with one call. For builds with CUDA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace tierra::cuda {

class Graph {
 public:
  /// The calling thread's work on `device` is recorded from now on; its allocations come from a pool of the graph's own.
  static std::unique_ptr<Graph> begin(int device);
  /// Throws a recording away, or frees the graph and its pool once the device is done with it. Never throws.
  virtual ~Graph() = default;
  /// Ends recording. Throws E_UNSUPPORTED when something was done that cannot be recorded: the graph is then of no use.
  virtual void end() = 0;
  /// Runs it on the current stream of the device, behind what was submitted before. Throws E_STATE while it is being recorded.
  virtual void replay() = 0;
  /// Bytes of the pool.
  virtual int64_t bytes() const = 0;
  /// Launches, copies and fills in the graph.
  virtual size_t nodes() const = 0;
};

}  // namespace tierra::cuda
