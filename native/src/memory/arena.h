// One arena per tier, taken once. Every address that leaves an arena was bounds-checked against it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace tierra::memory {

enum class ArenaKind { host, device };

using ArenaId = std::uint64_t;

struct ArenaOptions {
  ArenaKind kind;
  std::size_t bytes;
  int device;      // CUDA device that the memory lies on (device) or is registered for (host)
  bool hugePages;
};

class Arena {
 public:
  /// Throws NativeError: E_OUT_OF_MEMORY with the need, E_UNSUPPORTED without such a device.
  explicit Arena(const ArenaOptions& options);
  /// Over memory that somebody else took: `owner` keeps it until the arena is gone or it is taken back.
  Arena(const ArenaOptions& options, char* base, bool onGpu, std::shared_ptr<void> owner);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  ArenaId id() const { return id_; }
  const ArenaOptions& options() const { return options_; }
  std::size_t bytes() const { return options_.bytes; }
  /// True for real GPU memory: the CPU must not dereference `at`.
  bool onGpu() const { return onGpu_; }
  /// Registered with CUDA, so that copies are asynchronous and at full speed.
  bool pinned() const { return pinned_; }
  /// What did not go as asked, each with how to mend it.
  const std::vector<std::string>& notes() const { return notes_; }

  /// Address of `bytes` bytes at `offset`; throws NativeError E_ARGUMENT when they are not all inside.
  char* at(std::uint64_t offset, std::uint64_t bytes) const;

  /// Bytes that have a physical page.
  std::size_t touchedBytes() const;

  void read(std::uint64_t offset, void* into, std::size_t bytes) const;
  void write(std::uint64_t offset, const void* from, std::size_t bytes);
  void fill(std::uint64_t offset, std::size_t bytes, unsigned char value);

  /// Views, bound storages and transfers under way; the arena cannot be destroyed while there are any.
  void addUser() { users_.fetch_add(1, std::memory_order_relaxed); }
  void dropUser() { users_.fetch_sub(1, std::memory_order_acq_rel); }
  int users() const { return users_.load(std::memory_order_acquire); }

  /// The owner of borrowed memory; null for an arena that took its own.
  const std::shared_ptr<void>& owner() const { return owner_; }
  /// Lets the owner go: transfers that still name the arena must be over, or ordered before whoever uses it next.
  std::shared_ptr<void> takeOwner() { return std::move(owner_); }

 private:
  void mapHost();
  void allocateDevice();
  /// Takes the pages with all cores: registering alone takes them one by one.
  void populate();
  void registerWithCuda();

  ArenaOptions options_;
  ArenaId id_;
  char* base_ = nullptr;
  bool onGpu_ = false;
  bool pinned_ = false;
  std::vector<std::string> notes_;
  bool borrowed_ = false;
  std::shared_ptr<void> owner_;
  std::atomic<int> users_{0};
};

/// Keeps an arena in use for as long as it lives.
class ArenaUse {
 public:
  ArenaUse() = default;
  explicit ArenaUse(std::shared_ptr<Arena> arena) : arena_(std::move(arena)) {
    if (arena_) arena_->addUser();
  }
  ArenaUse(ArenaUse&& other) noexcept : arena_(std::move(other.arena_)) {}
  ArenaUse& operator=(ArenaUse&& other) noexcept {
    std::swap(arena_, other.arena_);
    return *this;
  }
  ~ArenaUse() {
    if (arena_) arena_->dropUser();
  }
  Arena* operator->() const { return arena_.get(); }
  explicit operator bool() const { return arena_ != nullptr; }

 private:
  std::shared_ptr<Arena> arena_;
};

/// Something that registers host arenas with the kernel, such as a ring.
class BufferRegistrar {
 public:
  virtual ~BufferRegistrar() = default;
  /// Registers what it can of the arena; what it cannot is used unregistered.
  virtual void addBuffer(ArenaId arena, char* base, std::size_t bytes) = 0;
  virtual void removeBuffer(ArenaId arena) = 0;
};

// The table of arenas. Host arenas are registered with every registrar, in whichever order the two appear.

std::shared_ptr<Arena> createArena(const ArenaOptions& options);
std::shared_ptr<Arena> borrowArena(const ArenaOptions& options, char* base, bool onGpu, std::shared_ptr<void> owner);
/// Takes the arena out of the table; it lives on until the last transfer that names it is over.
std::shared_ptr<Arena> forgetArena(ArenaId id);
/// Takes any arena out of the table, in use or not.
void dropArena(ArenaId id);
/// Throws NativeError E_STATE for an unknown id.
std::shared_ptr<Arena> findArena(ArenaId id);
/// Throws NativeError E_STATE while the arena is in use.
void destroyArena(ArenaId id);
std::size_t liveArenas();

void addRegistrar(BufferRegistrar* registrar);
void removeRegistrar(BufferRegistrar* registrar);

/// Memory and file space taken from the system or the driver since start: flat in a steady state.
std::uint64_t allocationCount();
void countAllocation();

/// How to raise the limit on locked memory, with its present value.
std::string lockedMemoryHint();

}  // namespace tierra::memory
