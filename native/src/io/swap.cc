#include "io/swap.h"

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <future>
#include <map>

#include "io/checksum.h"

namespace tierra::io {
namespace {

// Never destroyed: a process that ends without `closeAllSwaps` must not join lanes from a static destructor.
std::mutex tableMutex;
auto& table = *new std::map<SwapId, std::shared_ptr<Swap>>;
SwapId nextId = 1;

struct Freed {
  void operator()(char* memory) const { std::free(memory); }
};

}  // namespace

Swap::Swap(const SwapOptions& options)
    : options_(options), files_({options.paths, options.bytes, options.direct, options.runId}) {
  if (options_.blockBytes == 0 || options_.blockBytes % checksumPieceBytes != 0 || options_.readDepth == 0 ||
      options_.writeDepth == 0) {
    fail("E_ARGUMENT", "swap blocks are whole MiB and depths at least 1; got blocks of " +
                           std::to_string(options_.blockBytes) + " bytes, depths " + std::to_string(options_.readDepth) +
                           " and " + std::to_string(options_.writeDepth));
  }
  auto reading = chooseBackend(options_.readDepth);
  // The second ring follows the first: one swap speaks through one kind of back end.
  if (std::strcmp(reading->name(), "threads") == 0) options_.backend = BackendChoice::threads;
  auto writing = chooseBackend(options_.writeDepth);
  if (std::strcmp(reading->name(), writing->name()) != 0) reading = makeThreadBackend(files_.descriptors(), options_.readDepth);
  const std::uint64_t run = hashPiece(options_.runId.data(), options_.runId.size());
  read_ = std::make_unique<Lane>(LaneOptions{false, options_.readDepth, options_.blockBytes, options_.checksum, run}, files_,
                                 std::move(reading), poisoned_);
  write_ = std::make_unique<Lane>(LaneOptions{true, options_.writeDepth, options_.blockBytes, options_.checksum, run}, files_,
                                  std::move(writing), poisoned_);
}

Swap::~Swap() = default;

/// Probed with a real write and read: versions and sysctls say nothing about sandboxes and file systems.
std::unique_ptr<Backend> Swap::chooseBackend(unsigned depth) {
  if (options_.backend != BackendChoice::threads) {
    try {
      auto backend = makeUringBackend(files_.descriptors(), depth);
      if (const int error = probe(*backend)) {
        fail("E_UNSUPPORTED", "io_uring does not move bytes in " + options_.paths[0] + ": " + errnoText(error));
      }
      return backend;
    } catch (const NativeError& error) {
      if (options_.backend == BackendChoice::uring) throw;
      reasons_.push_back(error.message + "; threads with pread and pwrite are used instead");
    }
  }
  auto backend = makeThreadBackend(files_.descriptors(), depth);
  if (const int error = probe(*backend)) {
    fail("E_IO", "a 4 KiB write and read in " + options_.paths[0] + " failed: " + errnoText(error), {},
         {{"path", options_.paths[0]}, {"errno", static_cast<double>(error)}});
  }
  return backend;
}

int Swap::probe(Backend& backend) {
  const std::unique_ptr<char, Freed> memory(static_cast<char*>(std::aligned_alloc(sectorBytes, 2 * sectorBytes)));
  char* out = memory.get();
  char* in = memory.get() + sectorBytes;
  for (std::size_t file = 0; file < files_.descriptors().size(); ++file) {
    std::memset(out, 0x5a, sectorBytes);
    std::memset(in, 0, sectorBytes);
    for (const bool write : {true, false}) {
      for (int attempt = 0;; ++attempt) {
        BlockRequest request{write, static_cast<int>(file), write ? out : in, sectorBytes, 0, 0};
        std::vector<BlockRequest*> done;
        backend.submit(&request);
        while (done.empty()) {
          if (const int error = backend.reap(true, done)) return error;
        }
        if (request.result == static_cast<std::int64_t>(sectorBytes)) break;
        const int error = request.result < 0 ? static_cast<int>(-request.result) : EIO;
        if (error == EINVAL && files_.direct()) {
          files_.giveUpDirect("the file system refuses a direct transfer of 4096 bytes");
        } else if ((error != EINTR && error != EAGAIN) || attempt >= 100) {
          return error;
        }
      }
    }
    if (std::memcmp(out, in, sectorBytes) != 0) return EIO;
  }
  return 0;
}

std::size_t Swap::registeredBuffers() const {
  return std::min(read_->backend().buffersRegistered(), write_->backend().buffersRegistered());
}

std::vector<std::string> Swap::reasons() const {
  std::vector<std::string> all = files_.reasons();
  const auto add = [&](const std::vector<std::string>& more) {
    for (const auto& reason : more) {
      if (std::find(all.begin(), all.end(), reason) == all.end()) all.push_back(reason);
    }
  };
  add(reasons_);
  add(read_->backend().notes());
  add(write_->backend().notes());
  return all;
}

SwapStats Swap::stats() const {
  return {read_->stats(), write_->stats(), read_->backend().overflows() + write_->backend().overflows()};
}

void Swap::check(std::uint64_t offset, const char* data, std::uint64_t bytes) const {
  if (bytes == 0 || offset % sectorBytes != 0 || reinterpret_cast<std::uintptr_t>(data) % sectorBytes != 0) {
    fail("E_ARGUMENT", "swap extents and their memory start on multiples of 4096 and are not empty (swap offset " +
                           std::to_string(offset) + ", " + std::to_string(bytes) + " bytes)");
  }
  const std::uint64_t needed = extentBytes(bytes);
  if (bytes > files_.bytes() || offset > files_.bytes() || needed > files_.bytes() - offset) {
    fail("E_ARGUMENT",
         "an extent of " + std::to_string(needed) + " bytes at " + std::to_string(offset) + " is outside the swap of " +
             std::to_string(files_.bytes()) + " bytes",
         {}, {{"swapOffset", static_cast<double>(offset)}, {"bytes", static_cast<double>(bytes)}});
  }
}

void Swap::enqueue(bool write, Job job) { (write ? *write_ : *read_).enqueue(std::move(job)); }

std::optional<Failure> Swap::transfer(bool write, Job job) {
  if (!job.sync) check(job.offset, job.data, job.bytes);
  std::promise<std::optional<Failure>> promise;
  auto result = promise.get_future();
  job.done = [&promise](std::optional<Failure> failed) { promise.set_value(std::move(failed)); };
  enqueue(write, std::move(job));
  return result.get();
}

SwapId openSwap(const SwapOptions& options) {
  auto swap = std::make_shared<Swap>(options);
  std::lock_guard lock(tableMutex);
  table.emplace(nextId, std::move(swap));
  return nextId++;
}

std::shared_ptr<Swap> findSwap(SwapId id) {
  std::lock_guard lock(tableMutex);
  const auto found = table.find(id);
  if (found == table.end()) fail("E_STATE", "there is no swap " + std::to_string(id) + " (closed?)");
  return found->second;
}

void closeSwap(SwapId id) {
  const auto swap = findSwap(id);
  if (swap->users() > 0) {
    fail("E_STATE", "the swap cannot be closed: " + std::to_string(swap->users()) + " transfers use it",
         "Drain or destroy the executor first.");
  }
  std::lock_guard lock(tableMutex);
  table.erase(id);
}

void closeAllSwaps() {
  std::map<SwapId, std::shared_ptr<Swap>> gone;
  {
    std::lock_guard lock(tableMutex);
    gone.swap(table);
  }
}

}  // namespace tierra::io
