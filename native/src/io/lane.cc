#include "io/lane.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "io/checksum.h"
#include "io/faults.h"

namespace tierra::io {
namespace {

constexpr unsigned maxRetries = 100;
constexpr unsigned retriesWithoutPause = 8;
constexpr std::size_t bounceBytes = 2 * sectorBytes;  // the payload's last sector, when it is not full, and the trailer

bool isPassing(int error) { return error == EINTR || error == EAGAIN || error == EBUSY; }

std::uint64_t ownHash(const Trailer& trailer) { return hashPiece(&trailer, offsetof(Trailer, own)); }

}  // namespace

struct Lane::Block {
  char* data;
  std::uint64_t begin;  // in the extent
  std::uint64_t bytes;
  std::uint64_t issued = 0;
  unsigned open = 0;
  bool hashed = false;
};

struct Lane::Active {
  Job job;
  std::uint64_t mainBytes = 0;  // whole sectors, straight from or to the arena
  std::uint64_t tailBytes = 0;  // the rest, through the bounce buffer
  char* bounce = nullptr;
  std::vector<Block> blocks;
  std::vector<std::uint64_t> pieces;
  std::size_t next = 0;       // block to issue from
  std::size_t unfinished = 0; // blocks
  unsigned requests = 0;      // in flight or to be issued again
  std::optional<Failure> failed;

  char* trailer() const { return bounce + (tailBytes > 0 ? sectorBytes : 0); }
};

struct Lane::Request : BlockRequest {
  Active* job;
  std::size_t block;
  std::size_t remaining;  // `bytes` is what was asked for this time
  std::uint64_t swapOffset;
  unsigned retries;
  unsigned stalls;
  bool reread;
};

Lane::Lane(const LaneOptions& options, SwapFiles& files, std::unique_ptr<Backend> backend, std::atomic<bool>& poisoned)
    : options_(options), files_(files), backend_(std::move(backend)), poisoned_(poisoned) {
  for (unsigned i = 0; i < options_.depth; ++i) {
    requests_.push_back(std::make_unique<Request>());
    freeRequests_.push_back(requests_.back().get());
  }
  bounceMemory_ = static_cast<char*>(std::aligned_alloc(sectorBytes, options_.depth * bounceBytes));
  if (!bounceMemory_) throw std::bad_alloc();
  for (unsigned i = 0; i < options_.depth; ++i) freeBounces_.push_back(bounceMemory_ + i * bounceBytes);
  reaped_.reserve(options_.depth);
  memory::addRegistrar(backend_.get());
  thread_ = std::thread([this] { run(); });
}

Lane::~Lane() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
  memory::removeRegistrar(backend_.get());
  std::free(bounceMemory_);
}

void Lane::enqueue(Job job) {
  {
    std::lock_guard lock(mutex_);
    waiting_.insert(std::move(job));
  }
  wake_.notify_one();
}

LaneStats Lane::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void Lane::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (active_.empty()) {
        wake_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
      }
    }
    turn();
  }
}

void Lane::turn() {
  while (inFlight_ < options_.depth && issueNext()) {
  }
  reaped_.clear();
  if (inFlight_ > 0) {
    // First the disk is given all it can take, then this thread hashes: a queue that runs dry costs more than a late block.
    int error = backend_->reap(false, reaped_);
    if (error == 0 && reaped_.empty() && synthetic_.empty()) {
      if (options_.write) hashAhead();
      else hashArrived();
      error = backend_->reap(arrived_.empty(), reaped_);
    }
    inFlight_ -= static_cast<unsigned>(reaped_.size());
    for (auto* request : reaped_) finishRequest(static_cast<Request*>(request));
    if (error != 0) breakDown(error);
  }
  const auto synthetic = std::move(synthetic_);
  synthetic_.clear();
  for (auto* request : synthetic) finishRequest(request);
  if (inFlight_ == 0) hashArrived();
}

bool Lane::startNext() {
  std::unique_lock lock(mutex_);
  if (waiting_.empty() || freeBounces_.empty()) return false;
  if (waiting_.begin()->sync && !active_.empty()) return false;
  Job job = std::move(waiting_.extract(waiting_.begin()).value());
  lock.unlock();
  if (job.abandoned && job.abandoned->load()) {
    job.done(Failure("E_INTERRUPTED", "the transfer of chunk " + std::to_string(job.chunk) + " was called off"));
    return true;
  }
  if (poisoned_.load() || broken_ != 0) {
    job.done(Failure("E_IO",
                     broken_ ? "the disk back end broke down earlier: " + errnoText(broken_)
                             : "the swap cannot be trusted any more: syncing its files to disk failed earlier",
                     "Start again from the last checkpoint; look at the kernel's log for the disk's own errors.",
                     {{"file", files_.name(0)}, {"chunk", static_cast<double>(job.chunk)}}));
    return true;
  }
  if (job.started) job.started();
  if (job.sync) {
    sync(job);
    return true;
  }
  auto active = std::make_unique<Active>();
  active->job = std::move(job);
  active->bounce = freeBounces_.back();
  freeBounces_.pop_back();
  prepareBlocks(*active);
  active_.push_back(std::move(active));
  return true;
}

void Lane::prepareBlocks(Active& job) {
  job.tailBytes = job.job.bytes % sectorBytes;
  job.mainBytes = job.job.bytes - job.tailBytes;
  for (std::uint64_t begin = 0; begin < job.mainBytes; begin += options_.blockBytes) {
    job.blocks.push_back({job.job.data + begin, begin, std::min<std::uint64_t>(options_.blockBytes, job.mainBytes - begin)});
  }
  std::memset(job.bounce, 0, bounceBytes);
  if (options_.write) std::memcpy(job.bounce, job.job.data + job.mainBytes, job.tailBytes);
  job.blocks.push_back({job.bounce, job.mainBytes, (job.tailBytes > 0 ? sectorBytes : 0) + sectorBytes});
  job.pieces.resize((job.mainBytes + checksumPieceBytes - 1) / checksumPieceBytes + (job.tailBytes > 0 ? 1 : 0));
  job.unfinished = job.blocks.size();
}

bool Lane::issueNext() {
  if (!again_.empty()) {
    Request* request = again_.front();
    again_.pop_front();
    issue(request);
    return true;
  }
  if (freeRequests_.empty()) return false;
  for (auto& candidate : active_) {
    Active& job = *candidate;
    if (job.failed || job.next == job.blocks.size()) continue;
    Block& block = job.blocks[job.next];
    if (options_.write && block.issued == 0) {
      // The trailer is the last block: by then every piece has been hashed.
      if (job.next + 1 == job.blocks.size()) stampTrailer(job);
      else hashBlock(job, block);
    }
    const std::uint64_t swapOffset = job.job.offset + block.begin + block.issued;
    const SwapPlace place = files_.place(swapOffset, block.bytes - block.issued);
    Request* request = freeRequests_.back();
    freeRequests_.pop_back();
    *request = {{options_.write, place.file, block.data + block.issued, place.bytes, place.offset, 0}, &job, job.next,
                place.bytes, swapOffset, 0, 0, false};
    block.issued += place.bytes;
    ++block.open;
    ++job.requests;
    if (block.issued == block.bytes) ++job.next;
    issue(request);
    return true;
  }
  return startNext();
}

void Lane::issue(Request* request) {
  {
    std::lock_guard lock(mutex_);
    ++stats_.requests;
  }
  request->bytes = request->remaining;
  if (request->job->failed) {
    request->result = -ECANCELED;
    synthetic_.push_back(request);
    return;
  }
  if (const auto fault = faults::hit(options_.write ? faults::Site::ioWrite : faults::Site::ioRead)) {
    // A short fault is a real transfer of fewer bytes.
    request->bytes = fault->isShort ? request->bytes / 2 / files_.alignment() * files_.alignment() : 0;
    if (request->bytes == 0) {
      request->result = -fault->error;
      synthetic_.push_back(request);
      return;
    }
  }
  ++inFlight_;
  backend_->submit(request);
}

void Lane::finishRequest(Request* request) {
  Active& job = *request->job;
  Block& block = job.blocks[request->block];
  const auto drop = [&] {
    freeRequests_.push_back(request);
    --job.requests;
    if (job.failed ? job.requests == 0 : job.unfinished == 0) retire(job);
  };
  const auto repeat = [&](std::uint64_t LaneStats::* counter) {
    {
      std::lock_guard lock(mutex_);
      ++(stats_.*counter);
    }
    again_.push_back(request);
  };
  if (job.failed) return drop();

  if (request->result < 0) {
    const int error = static_cast<int>(-request->result);
    if (isPassing(error) && request->retries < maxRetries) {
      if (++request->retries > retriesWithoutPause) usleep(100);
      return repeat(&LaneStats::retries);
    }
    if (error == EIO && !options_.write && !request->reread) {
      request->reread = true;
      return repeat(&LaneStats::retries);
    }
    job.failed = failure(job, "E_IO", options_.write ? "writing" : "reading", request, error);
    return drop();
  }

  const auto moved = static_cast<std::size_t>(request->result);
  if (moved < request->remaining) {
    const std::size_t kept = moved / files_.alignment() * files_.alignment();
    if (kept == 0 && ++request->stalls >= 2) {
      job.failed = failure(job, "E_IO", options_.write ? "writing makes no progress on" : "reading makes no progress on",
                           request, 0);
      return drop();
    }
    if (kept > 0) request->stalls = 0;
    request->data += kept;
    request->remaining -= kept;
    request->offset += kept;
    request->swapOffset += kept;
    return repeat(&LaneStats::shortTransfers);
  }

  if (--block.open == 0 && block.issued == block.bytes) blockDone(job, block);
  drop();
}

void Lane::blockDone(Active& job, Block& block) {
  const bool isLast = &block == &job.blocks.back();
  if (options_.checksum && !options_.write && !isLast) arrived_.emplace_back(&job, &block);
  else --job.unfinished;
}

/// One block that was read; the lane looks for completions again before the next.
void Lane::hashArrived() {
  if (arrived_.empty()) return;
  const auto [job, block] = arrived_.front();
  arrived_.pop_front();
  hashBlock(*job, *block);
  if (--job->unfinished == 0) retire(*job);
}

/// While the disk is busy: the block that will be written next.
void Lane::hashAhead() {
  for (auto& job : active_) {
    if (job->failed || job->next + 1 >= job->blocks.size()) continue;
    Block& block = job->blocks[job->next];
    if (block.hashed) continue;
    hashBlock(*job, block);
    return;
  }
}

void Lane::hashBlock(Active& job, Block& block) {
  if (!options_.checksum || block.hashed) return;
  block.hashed = true;
  for (std::uint64_t at = 0; at < block.bytes; at += checksumPieceBytes) {
    job.pieces[(block.begin + at) / checksumPieceBytes] =
        hashPiece(block.data + at, std::min<std::uint64_t>(checksumPieceBytes, block.bytes - at));
  }
}

void Lane::stampTrailer(Active& job) {
  if (options_.checksum && job.tailBytes > 0) job.pieces.back() = hashPiece(job.bounce, job.tailBytes);
  Trailer trailer{};
  trailer.magic = trailerMagic;
  trailer.version = trailerVersion;
  trailer.flags = options_.checksum ? trailerChecksummed : 0;
  trailer.run = options_.run;
  trailer.offset = job.job.offset;
  trailer.chunk = job.job.chunk;
  trailer.step = job.job.step;
  trailer.payloadBytes = job.job.bytes;
  trailer.checksum = options_.checksum ? combine(job.pieces.data(), job.pieces.size(), job.job.bytes) : 0;
  trailer.own = ownHash(trailer);
  std::memcpy(job.trailer(), &trailer, sizeof trailer);
}

std::optional<Failure> Lane::checkTrailer(const Active& job) const {
  Trailer found;
  std::memcpy(&found, job.trailer(), sizeof found);
  const auto corrupt = [&](const std::string& why, double expected, double actual) {
    Failure made = failure(job, "E_CORRUPT", "what was read from", nullptr, 0);
    made.message += ": " + why;
    made.hint = "The bytes were not used. Start again from the last checkpoint, and check the disk.";
    made.details.emplace_back("expected", expected);
    made.details.emplace_back("found", actual);
    return made;
  };
  const auto number = [](std::uint64_t value) { return static_cast<double>(value); };
  if (found.magic == 0 && found.own == 0) return corrupt("nothing was ever written there", number(job.job.step), 0);
  if (found.magic != trailerMagic || found.version != trailerVersion || found.own != ownHash(found)) {
    return corrupt("the trailer is damaged", number(trailerMagic), number(found.magic));
  }
  if (found.run != options_.run) return corrupt("it belongs to another run", number(options_.run), number(found.run));
  if (found.chunk != job.job.chunk) {
    return corrupt("it holds chunk " + std::to_string(found.chunk), number(job.job.chunk), number(found.chunk));
  }
  if (found.step != job.job.step) {
    return corrupt("it is of step " + std::to_string(found.step), number(job.job.step), number(found.step));
  }
  if (found.offset != job.job.offset) {
    return corrupt("it was written for offset " + std::to_string(found.offset), number(job.job.offset), number(found.offset));
  }
  if (found.payloadBytes != job.job.bytes) {
    return corrupt("it holds " + std::to_string(found.payloadBytes) + " bytes", number(job.job.bytes),
                   number(found.payloadBytes));
  }
  if (options_.checksum && (found.flags & trailerChecksummed)) {
    auto pieces = job.pieces;
    if (job.tailBytes > 0) pieces.back() = hashPiece(job.bounce, job.tailBytes);
    const std::uint64_t now = combine(pieces.data(), pieces.size(), job.job.bytes);
    if (now != found.checksum) return corrupt("the checksum disagrees", number(found.checksum), number(now));
  }
  return std::nullopt;
}

void Lane::retire(Active& job) {
  if (!job.failed && !options_.write) {
    job.failed = checkTrailer(job);
    if (!job.failed) std::memcpy(job.job.data + job.mainBytes, job.bounce, job.tailBytes);
  }
  if (!job.failed) {
    std::lock_guard lock(mutex_);
    stats_.bytes += job.job.bytes;
  }
  std::erase_if(arrived_, [&job](const auto& entry) { return entry.first == &job; });
  freeBounces_.push_back(job.bounce);
  auto done = std::move(job.job.done);
  auto failed = std::move(job.failed);
  active_.erase(std::find_if(active_.begin(), active_.end(), [&](const auto& held) { return held.get() == &job; }));
  done(std::move(failed));
}

void Lane::sync(Job& job) {
  for (std::size_t i = 0; i < files_.descriptors().size(); ++i) {
    const auto fault = faults::hit(faults::Site::ioFsync);
    int error = fault ? (fault->isShort ? EIO : fault->error) : 0;
    if (!fault && fdatasync(files_.descriptors()[i]) != 0) error = errno;
    if (error == 0) continue;
    // The kernel forgets which pages were lost: a second fsync would succeed and mean nothing.
    poisoned_.store(true);
    job.done(Failure("E_IO", "syncing " + files_.name(static_cast<int>(i)) + " to disk failed: " + errnoText(error),
                     "What was written may be lost, so this swap is not used any more; start from the last checkpoint.",
                     {{"file", files_.name(static_cast<int>(i))}, {"errno", static_cast<double>(error)}}));
    return;
  }
  job.done(std::nullopt);
}

Failure Lane::failure(const Active& job, const std::string& code, const std::string& what, const Request* request,
                      int error) const {
  const std::uint64_t swapOffset = request ? request->swapOffset : job.job.offset;
  const SwapPlace place = files_.place(swapOffset, 1);
  const std::string& file = files_.name(place.file);
  std::string message = what + " " + file + " at byte " + std::to_string(place.offset) + " (chunk " +
                        std::to_string(job.job.chunk) + ", step " + std::to_string(job.job.step) + ", " +
                        bytesText(static_cast<double>(job.job.bytes)) + ")";
  std::string hint = "The bytes were not used; the last checkpoint is intact.";
  if (error != 0) message += " failed: " + errnoText(error);
  if (error == ENOSPC || error == EDQUOT) hint = "The disk is full: free space or lower memory.nvme.size. " + hint;
  return Failure(code, std::move(message), std::move(hint),
                 {{"file", file},
                  {"fileOffset", static_cast<double>(place.offset)},
                  {"swapOffset", static_cast<double>(swapOffset)},
                  {"chunk", static_cast<double>(job.job.chunk)},
                  {"step", static_cast<double>(job.job.step)},
                  {"bytes", static_cast<double>(job.job.bytes)},
                  {"errno", static_cast<double>(error)}});
}

void Lane::breakDown(int error) {
  broken_ = error;
  again_.clear();
  inFlight_ = 0;
  while (!active_.empty()) {
    Active& job = *active_.front();
    job.failed = failure(job, "E_IO", options_.write ? "writing" : "reading", nullptr, error);
    retire(job);
  }
  synthetic_.clear();
}

}  // namespace tierra::io
