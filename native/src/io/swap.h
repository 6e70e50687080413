// A swap: striped files with one reading and one writing lane.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/lane.h"
#include "io/swapFiles.h"

namespace tierra::io {

enum class BackendChoice { automatic, uring, threads };

struct SwapOptions {
  std::vector<std::string> paths;
  std::uint64_t bytes;
  BackendChoice backend;
  bool direct;
  bool checksum;
  std::string runId;
  std::size_t blockBytes;
  unsigned readDepth;
  unsigned writeDepth;
};

struct SwapStats {
  LaneStats read;
  LaneStats write;
  std::uint64_t overflows;
};

class Swap {
 public:
  /// Throws NativeError; see SwapFiles, and E_UNSUPPORTED for an explicit back end that does not work here.
  explicit Swap(const SwapOptions& options);
  ~Swap();

  const SwapOptions& options() const { return options_; }
  const SwapFiles& files() const { return files_; }
  const char* backend() const { return read_->backend().name(); }
  bool registeredFiles() const { return read_->backend().filesRegistered() && write_->backend().filesRegistered(); }
  std::size_t registeredBuffers() const;
  /// Everything that is not as asked for, each with its cause.
  std::vector<std::string> reasons() const;
  SwapStats stats() const;

  /// Throws NativeError E_ARGUMENT when the extent is not all inside, is empty, or is not aligned.
  void check(std::uint64_t offset, const char* data, std::uint64_t bytes) const;
  /// Hands a checked job to its lane.
  void enqueue(bool write, Job job);
  /// Checks, enqueues and waits. Returns the failure, if any.
  std::optional<Failure> transfer(bool write, Job job);

  void addUser() { users_.fetch_add(1); }
  void dropUser() { users_.fetch_sub(1); }
  int users() const { return users_.load(); }

 private:
  std::unique_ptr<Backend> chooseBackend(unsigned depth);
  int probe(Backend& backend);

  SwapOptions options_;
  SwapFiles files_;
  std::vector<std::string> reasons_;
  std::atomic<bool> poisoned_{false};
  std::atomic<int> users_{0};
  std::unique_ptr<Lane> read_;
  std::unique_ptr<Lane> write_;
};

using SwapId = std::uint64_t;

SwapId openSwap(const SwapOptions& options);
std::shared_ptr<Swap> findSwap(SwapId id);
/// Throws NativeError E_STATE while an executor uses it.
void closeSwap(SwapId id);
/// When Node takes the addon down: locks are let go and lanes joined. Executors are destroyed before.
void closeAllSwaps();

}  // namespace tierra::io
