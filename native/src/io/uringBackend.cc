#include <algorithm>
#include <cerrno>
#include <cstring>

#include "failure.h"
#include "backend.h"
#include "faults.h"

#ifdef TIERRA_URING
#include <liburing.h>
#include <unistd.h>

#include <mutex>
#endif

namespace tierra::io {

#ifdef TIERRA_URING
namespace {

constexpr unsigned bufferSlots = 1024;
constexpr unsigned maxRefusals = 20000;  // about a second of EAGAIN without one completion
constexpr std::size_t sliceBytes = std::size_t{1} << 30;  // the kernel's limit for one registered buffer

class UringBackend final : public Backend {
 public:
  UringBackend(const std::vector<int>& files, unsigned depth) : files_(files) {
    const auto fault = faults::hit(faults::Site::ioSetup);
    io_uring_params params{};
    const int error = fault ? -fault->error : io_uring_queue_init_params(depth, &ring_, &params);
    if (error < 0) {
      fail("E_UNSUPPORTED", "io_uring cannot be set up: " + errnoText(-error),
           error == -EPERM ? "A sandbox (Docker's default seccomp profile) or kernel.io_uring_disabled forbids it." : "");
    }
    if (!(params.features & IORING_FEAT_NODROP)) {
      io_uring_queue_exit(&ring_);
      fail("E_UNSUPPORTED", "this kernel's io_uring may drop completions (no IORING_FEAT_NODROP)");
    }
    const auto registerFault = faults::hit(faults::Site::ioRegister);
    filesRegistered_ = !registerFault && io_uring_register_files(&ring_, files_.data(), static_cast<unsigned>(files_.size())) == 0;
    if (!filesRegistered_) notes_.push_back("files are not registered with io_uring");
    sparse_ = io_uring_register_buffers_sparse(&ring_, bufferSlots) == 0;
    if (!sparse_) notes_.push_back("buffers are not registered with io_uring: this kernel has no sparse buffer tables");
    slots_.resize(bufferSlots);
  }

  ~UringBackend() override { io_uring_queue_exit(&ring_); }

  void submit(BlockRequest* request) override {
    // Cannot be null: in flight <= depth <= submission queue, and each reap submits all that is queued.
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    const int file = filesRegistered_ ? request->file : files_[static_cast<std::size_t>(request->file)];
    const auto bytes = static_cast<unsigned>(request->bytes);
    const int slot = slotOf(request->data, request->bytes);
    if (request->write) {
      if (slot >= 0) io_uring_prep_write_fixed(entry, file, request->data, bytes, request->offset, slot);
      else io_uring_prep_write(entry, file, request->data, bytes, request->offset);
    } else {
      if (slot >= 0) io_uring_prep_read_fixed(entry, file, request->data, bytes, request->offset, slot);
      else io_uring_prep_read(entry, file, request->data, bytes, request->offset);
    }
    if (filesRegistered_) entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data(entry, request);
    ++inFlight_;
  }

  int reap(bool wait, std::vector<BlockRequest*>& done) override {
    const std::size_t before = done.size();
    for (unsigned refusals = 0;;) {
      const int submitted = io_uring_submit_and_wait(&ring_, wait && inFlight_ > 0 ? 1 : 0);
      if (submitted < 0 && submitted != -EINTR && submitted != -EAGAIN && submitted != -EBUSY) return -submitted;
      take(done);
      if (submitted < 0 && done.size() == before) {
        if (++refusals > maxRefusals) return -submitted;
        usleep(50);
      }
      // EAGAIN and EBUSY: the kernel wants completions taken, or memory, before it accepts more.
      const bool queued = io_uring_sq_ready(&ring_) > 0;
      if (!queued && (!wait || inFlight_ == 0 || done.size() > before)) return 0;
      if (queued && done.size() > before) return 0;
    }
  }

  const char* name() const override { return "uring"; }
  bool filesRegistered() const override { return filesRegistered_; }
  std::uint64_t overflows() const override { return *ring_.cq.koverflow; }

  std::size_t buffersRegistered() const override {
    std::lock_guard lock(mutex_);
    std::size_t count = 0;
    for (const auto& slot : slots_) count += slot.bytes > 0;
    return count;
  }

  std::vector<std::string> notes() const override {
    std::lock_guard lock(mutex_);
    return notes_;
  }

  void addBuffer(memory::ArenaId arena, char* base, std::size_t bytes) override {
    if (!sparse_) return;
    std::lock_guard lock(mutex_);
    for (std::size_t begin = 0; begin < bytes; begin += sliceBytes) {
      const std::size_t length = std::min(sliceBytes, bytes - begin);
      const auto free = freeSlot();
      const auto fault = faults::hit(faults::Site::ioRegister);
      const int result = fault ? -fault->error : free < 0 ? -ENOSPC : update(free, base + begin, length);
      if (result < 0) {
        notes_.push_back("io_uring does not register " + bytesText(static_cast<double>(bytes - begin)) + " of arena " +
                         std::to_string(arena) + ": " + errnoText(-result) + "; it is used unregistered. " +
                         (result == -ENOMEM ? memory::lockedMemoryHint() : std::string()));
        return;
      }
      slots_[static_cast<std::size_t>(free)] = {arena, base + begin, length};
      usedSlots_ = std::max(usedSlots_, static_cast<std::size_t>(free) + 1);
    }
  }

  void removeBuffer(memory::ArenaId arena) override {
    std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].bytes == 0 || slots_[i].arena != arena) continue;
      update(static_cast<int>(i), nullptr, 0);
      slots_[i] = {};
    }
  }

 private:
  struct Slot {
    memory::ArenaId arena = 0;
    char* base = nullptr;
    std::size_t bytes = 0;
  };

  void take(std::vector<BlockRequest*>& done) {
    io_uring_cqe* completion = nullptr;
    while (io_uring_peek_cqe(&ring_, &completion) == 0) {
      auto* request = static_cast<BlockRequest*>(io_uring_cqe_get_data(completion));
      request->result = completion->res;
      io_uring_cqe_seen(&ring_, completion);
      --inFlight_;
      done.push_back(request);
    }
  }

  int freeSlot() const {
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].bytes == 0) return static_cast<int>(i);
    }
    return -1;
  }

  int update(int slot, void* base, std::size_t bytes) {
    const iovec vector{base, bytes};
    const __u64 tag = 0;
    return io_uring_register_buffers_update_tag(&ring_, static_cast<unsigned>(slot), &vector, &tag, 1);
  }

  int slotOf(const char* data, std::size_t bytes) const {
    std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < usedSlots_; ++i) {
      const Slot& slot = slots_[i];
      if (slot.bytes > 0 && data >= slot.base && data + bytes <= slot.base + slot.bytes) return static_cast<int>(i);
    }
    return -1;
  }

  io_uring ring_{};
  std::vector<int> files_;
  bool filesRegistered_ = false;
  bool sparse_ = false;
  unsigned inFlight_ = 0;
  mutable std::mutex mutex_;
  std::vector<Slot> slots_;
  std::size_t usedSlots_ = 0;  // no slot from here on is in use
  std::vector<std::string> notes_;
};

}  // namespace

std::unique_ptr<Backend> makeUringBackend(const std::vector<int>& files, unsigned depth) {
  return std::make_unique<UringBackend>(files, depth);
}

#else

std::unique_ptr<Backend> makeUringBackend(const std::vector<int>&, unsigned) {
  fail("E_UNSUPPORTED", "this build has no io_uring: liburing was not found when it was built",
       "Install liburing-dev and run `npx tierra setup`.");
}

#endif

}  // namespace tierra::io
