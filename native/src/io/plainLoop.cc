#include "io/plainLoop.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "io/failure.h"

#ifdef TIERRA_URING
#include <liburing.h>
#endif

namespace tierra::io {

#ifdef TIERRA_URING
namespace {

void require(bool good, const char* what, int error) {
  if (!good) fail("E_IO", std::string("the plain disk loop cannot ") + what + ": " + errnoText(error));
}

class UringLoop final : public PlainLoop {
 public:
  UringLoop(const std::string& folder, std::uint64_t halfBytes, std::size_t blockBytes, unsigned depth)
      : half_(halfBytes), block_(blockBytes), depth_(depth) {
    file_ = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
    require(file_ >= 0, "make a file", errno);
    require(fallocate(file_, 0, 0, static_cast<off_t>(2 * half_)) == 0, "reserve space", errno);
    // Huge pages, as arenas have them: small pages cut every request into hundreds of segments.
    buffers_ = std::aligned_alloc(2 << 20, bufferBytes());
    require(buffers_ != nullptr, "allocate buffers", ENOMEM);
    madvise(buffers_, bufferBytes(), MADV_HUGEPAGE);
    std::memset(buffers_, 0x5c, bufferBytes());
    const int ring = io_uring_queue_init(2 * depth_, &ring_, 0);
    require(ring == 0, "set up io_uring", -ring);
    const iovec all{buffers_, bufferBytes()};
    fixed_ = io_uring_register_buffers(&ring_, &all, 1) == 0 && io_uring_register_files(&ring_, &file_, 1) == 0;
    // What was only reserved reads as zeros without touching the disk.
    run();
    run();
  }

  ~UringLoop() override {
    io_uring_queue_exit(&ring_);
    std::free(buffers_);
    ::close(file_);
  }

  double run() override {
    const auto start = std::chrono::steady_clock::now();
    const std::uint64_t blocks = half_ / block_;
    std::uint64_t next[2] = {0, 0};
    std::uint64_t done = 0;
    for (unsigned slot = 0; slot < 2 * depth_; ++slot) issue(slot, next, blocks);
    while (done < 2 * blocks) {
      io_uring_submit_and_wait(&ring_, 1);
      io_uring_cqe* completion = nullptr;
      while (io_uring_peek_cqe(&ring_, &completion) == 0) {
        require(completion->res == static_cast<int>(block_), "move a block", completion->res < 0 ? -completion->res : EIO);
        const auto slot = static_cast<unsigned>(io_uring_cqe_get_data64(completion));
        io_uring_cqe_seen(&ring_, completion);
        ++done;
        issue(slot, next, blocks);
      }
    }
    std::swap(readFrom_, writeTo_);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  std::size_t bufferBytes() const { return 2 * depth_ * block_; }

  /// Even slots read, odd ones write.
  void issue(unsigned slot, std::uint64_t* next, std::uint64_t blocks) {
    const bool write = slot % 2 == 1;
    if (next[write] == blocks) return;
    const std::uint64_t offset = (write ? writeTo_ : readFrom_) * half_ + next[write]++ * block_;
    char* data = static_cast<char*>(buffers_) + slot * block_;
    const auto bytes = static_cast<unsigned>(block_);
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    const int file = fixed_ ? 0 : file_;
    if (fixed_ && write) io_uring_prep_write_fixed(entry, file, data, bytes, offset, 0);
    else if (fixed_) io_uring_prep_read_fixed(entry, file, data, bytes, offset, 0);
    else if (write) io_uring_prep_write(entry, file, data, bytes, offset);
    else io_uring_prep_read(entry, file, data, bytes, offset);
    if (fixed_) entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(entry, slot);
  }

  const std::uint64_t half_;
  const std::size_t block_;
  const unsigned depth_;
  int file_ = -1;
  void* buffers_ = nullptr;
  bool fixed_ = false;
  std::uint64_t readFrom_ = 0;
  std::uint64_t writeTo_ = 1;
  io_uring ring_{};
};

}  // namespace

std::unique_ptr<PlainLoop> makePlainLoop(const std::string& folder, std::uint64_t halfBytes, std::size_t blockBytes,
                                         unsigned depth) {
  return std::make_unique<UringLoop>(folder, halfBytes, blockBytes, depth);
}

#else

std::unique_ptr<PlainLoop> makePlainLoop(const std::string&, std::uint64_t, std::size_t, unsigned) {
  fail("E_UNSUPPORTED", "this build has no io_uring to compare with");
}

#endif

}  // namespace tierra::io
