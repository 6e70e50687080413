// One direction of one swap: a thread that cuts extents into blocks, keeps a bounded number in flight, checks every
// result, continues what came up short, and stamps or verifies the trailer.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "io/backend.h"
#include "io/extent.h"
#include "io/failure.h"
#include "io/swapFiles.h"

namespace tierra::io {

struct LaneOptions {
  bool write;
  unsigned depth;          // blocks in flight
  std::size_t blockBytes;  // a multiple of the checksum's piece
  bool checksum;
  std::uint64_t run;       // hash of the run id, stamped on every extent
};

struct LaneStats {
  std::uint64_t bytes = 0;
  std::uint64_t requests = 0;
  std::uint64_t retries = 0;         // EINTR, EAGAIN, EBUSY and the one re-read after EIO
  std::uint64_t shortTransfers = 0;
};

/// One extent to move, or a barrier that syncs the files after all jobs before it.
struct Job {
  bool sync = false;
  std::uint64_t priority = 0;  // lower first among jobs that wait
  std::uint64_t offset = 0;    // of the extent in the swap
  char* data = nullptr;
  std::uint64_t bytes = 0;
  std::uint64_t chunk = 0;
  std::uint64_t step = 0;
  const std::atomic<bool>* abandoned = nullptr;  // when set before the job starts, it ends as E_INTERRUPTED
  std::function<void()> started;
  /// Called once on the lane's thread; must not throw.
  std::function<void(std::optional<Failure>)> done;
};

class Lane {
 public:
  /// `poisoned` is shared by a swap's lanes: set when a sync failed, and then nothing is done any more.
  Lane(const LaneOptions& options, SwapFiles& files, std::unique_ptr<Backend> backend, std::atomic<bool>& poisoned);
  /// Finishes what was enqueued, then joins.
  ~Lane();

  void enqueue(Job job);
  LaneStats stats() const;
  Backend& backend() { return *backend_; }

 private:
  struct Active;
  struct Block;
  struct Request;
  struct Earlier {
    bool operator()(const Job& a, const Job& b) const { return a.priority < b.priority; }
  };

  void run();
  void turn();
  bool startNext();
  bool issueNext();
  void issue(Request* request);
  void prepareBlocks(Active& job);
  void finishRequest(Request* request);
  void blockDone(Active& job, Block& block);
  void retire(Active& job);
  void sync(Job& job);
  std::optional<Failure> checkTrailer(const Active& job) const;
  void stampTrailer(Active& job);
  void hashBlock(Active& job, Block& block);
  void hashAhead();
  void hashArrived();
  Failure failure(const Active& job, const std::string& code, const std::string& what, const Request* request,
                  int error) const;
  void breakDown(int error);

  const LaneOptions options_;
  SwapFiles& files_;
  std::unique_ptr<Backend> backend_;
  std::atomic<bool>& poisoned_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::multiset<Job, Earlier> waiting_;
  bool stop_ = false;
  LaneStats stats_;

  // Touched by the lane's thread alone.
  std::vector<std::unique_ptr<Active>> active_;
  std::vector<std::unique_ptr<Request>> requests_;
  std::vector<Request*> freeRequests_;
  std::deque<Request*> again_;
  std::vector<Request*> synthetic_;
  std::deque<std::pair<Active*, Block*>> arrived_;  // read, not yet hashed
  std::vector<char*> freeBounces_;
  char* bounceMemory_ = nullptr;
  std::vector<BlockRequest*> reaped_;
  unsigned inFlight_ = 0;
  int broken_ = 0;

  std::thread thread_;
};

}  // namespace tierra::io
