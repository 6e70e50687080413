#include "arena.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#ifdef TIERRA_CUDA
#include <cuda_runtime_api.h>
#endif

#include "io/failure.h"
#include "io/faults.h"

namespace tierra::memory {
namespace {

constexpr std::size_t hugePageBytes = 2 << 20;
constexpr std::size_t leastShareBytes = 256 << 20;

std::atomic<std::uint64_t> nextId{1};
std::atomic<std::uint64_t> allocations{0};

std::size_t pageBytes() {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

[[noreturn]] void failMap(std::size_t bytes, int error) {
  const double available = static_cast<double>(sysconf(_SC_AVPHYS_PAGES)) * static_cast<double>(pageBytes());
  fail("E_OUT_OF_MEMORY",
       "the system refuses " + bytesText(static_cast<double>(bytes)) + " of host memory: " + errnoText(error),
       "Lower memory.cpu (or memory.gpu, where RAM stands in for it); " + bytesText(available) + " are free now.",
       {{"neededBytes", static_cast<double>(bytes)}, {"freeBytes", available}, {"errno", static_cast<double>(error)}});
}

#ifdef TIERRA_CUDA
/// Only the errors of calls made here are cleared; a sticky error stays and fails the next real call.
std::string cudaText(cudaError_t error) {
  cudaGetLastError();
  return std::string(cudaGetErrorName(error)) + " (" + cudaGetErrorString(error) + ")";
}
#endif

}  // namespace

Arena::Arena(const ArenaOptions& options) : options_(options), id_(nextId.fetch_add(1)) {
  if (options.bytes == 0) fail("E_ARGUMENT", "an arena of 0 bytes was asked for");
#ifdef TIERRA_CUDA
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess) {
    cudaGetLastError();
    devices = 0;
  }
  if (options.kind == ArenaKind::device && devices > 0) {
    allocateDevice();
    return;
  }
  mapHost();
  if (options.kind == ArenaKind::host && devices > 0) registerWithCuda();
#else
  mapHost();
#endif
}

Arena::Arena(const ArenaOptions& options, char* base, bool onGpu, std::shared_ptr<void> owner)
    : options_(options), id_(nextId.fetch_add(1)), base_(base), onGpu_(onGpu), borrowed_(true), owner_(std::move(owner)) {}

Arena::~Arena() {
  if (!base_ || borrowed_) return;
#ifdef TIERRA_CUDA
  if (onGpu_) {
    cudaSetDevice(options_.device);
    cudaFree(base_);
    return;
  }
  if (pinned_) cudaHostUnregister(base_);
#endif
  munmap(base_, options_.bytes);
}

void Arena::mapHost() {
  const std::size_t page = pageBytes();
  const std::size_t bytes = (options_.bytes + page - 1) / page * page;
  options_.bytes = bytes;
  if (const auto fault = faults::hit(faults::Site::arenaMap)) failMap(bytes, fault->error ? fault->error : ENOMEM);
  // Mapped with room to start on a huge page, then trimmed: one allocation that is exactly `bytes` long.
  const std::size_t room = bytes + hugePageBytes;
  void* mapped = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) failMap(bytes, errno);
  countAllocation();
  const auto start = reinterpret_cast<std::uintptr_t>(mapped);
  const auto aligned = (start + hugePageBytes - 1) / hugePageBytes * hugePageBytes;
  base_ = reinterpret_cast<char*>(aligned);
  if (aligned > start) munmap(mapped, aligned - start);
  if (start + room > aligned + bytes) munmap(base_ + bytes, start + room - aligned - bytes);
  if (options_.hugePages && madvise(base_, bytes, MADV_HUGEPAGE) != 0) {
    notes_.push_back("huge pages refused: " + errnoText(errno));
    options_.hugePages = false;
  }
}

void Arena::allocateDevice() {
#ifdef TIERRA_CUDA
  options_.hugePages = false;
  const auto fault = faults::hit(faults::Site::cudaAlloc);
  cudaError_t error = cudaSetDevice(options_.device);
  void* memory = nullptr;
  if (error == cudaSuccess) error = fault ? cudaErrorMemoryAllocation : cudaMalloc(&memory, options_.bytes);
  if (error != cudaSuccess) {
    std::size_t freeBytes = 0, totalBytes = 0;
    const std::string text = cudaText(error);
    cudaMemGetInfo(&freeBytes, &totalBytes);
    fail(error == cudaErrorMemoryAllocation ? "E_OUT_OF_MEMORY" : "E_UNSUPPORTED",
         "cudaMalloc of " + bytesText(static_cast<double>(options_.bytes)) + " on cuda:" +
             std::to_string(options_.device) + " failed: " + text,
         "Lower memory.gpu; " + bytesText(static_cast<double>(freeBytes)) + " of " +
             bytesText(static_cast<double>(totalBytes)) + " are free on this GPU.",
         {{"neededBytes", static_cast<double>(options_.bytes)}, {"freeBytes", static_cast<double>(freeBytes)}});
  }
  countAllocation();
  base_ = static_cast<char*>(memory);
  onGpu_ = true;
#endif
}

void Arena::populate() {
#ifdef MADV_POPULATE_WRITE
  const std::size_t most = std::max(1u, std::thread::hardware_concurrency());
  const std::size_t shares = std::clamp<std::size_t>(options_.bytes / leastShareBytes, 1, most);
  if (shares == 1) return;
  std::vector<std::thread> threads;
  for (std::size_t share = 0; share < shares; ++share) {
    const auto edge = [&](std::size_t of) { return options_.bytes / shares * of / hugePageBytes * hugePageBytes; };
    const std::size_t begin = edge(share), end = share + 1 == shares ? options_.bytes : edge(share + 1);
    // Where the kernel does not know the request, registering finds the pages itself.
    threads.emplace_back([this, begin, end] { madvise(base_ + begin, end - begin, MADV_POPULATE_WRITE); });
  }
  for (auto& thread : threads) thread.join();
#endif
}

void Arena::registerWithCuda() {
#ifdef TIERRA_CUDA
  populate();
  const auto fault = faults::hit(faults::Site::cudaRegister);
  cudaSetDevice(options_.device);
  const cudaError_t error = fault ? cudaErrorMemoryAllocation
                                  : cudaHostRegister(base_, options_.bytes, cudaHostRegisterPortable);
  if (error == cudaSuccess) {
    pinned_ = true;
    countAllocation();
  } else {
    notes_.push_back("CUDA does not register " + bytesText(static_cast<double>(options_.bytes)) + ": " +
                     cudaText(error) + "; copies to and from the GPU will be slower. " + lockedMemoryHint());
  }
#endif
}

char* Arena::at(std::uint64_t offset, std::uint64_t bytes) const {
  if (offset > options_.bytes || bytes > options_.bytes - offset) {
    fail("E_ARGUMENT",
         "bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) + " are outside arena " +
             std::to_string(id_) + " of " + std::to_string(options_.bytes) + " bytes",
         {},
         {{"arena", static_cast<double>(id_)},
          {"offset", static_cast<double>(offset)},
          {"bytes", static_cast<double>(bytes)},
          {"arenaBytes", static_cast<double>(options_.bytes)}});
  }
  return base_ + offset;
}

std::size_t Arena::touchedBytes() const {
  if (onGpu_) return options_.bytes;
  const std::size_t page = pageBytes();
  constexpr std::size_t batch = 65536;
  std::vector<unsigned char> resident(batch);
  std::size_t touched = 0;
  for (std::size_t offset = 0; offset < options_.bytes; offset += batch * page) {
    const std::size_t span = std::min(batch * page, options_.bytes - offset);
    if (mincore(base_ + offset, span, resident.data()) != 0) return options_.bytes;
    for (std::size_t i = 0; i < span / page; ++i) touched += (resident[i] & 1) ? page : 0;
  }
  return touched;
}

void Arena::read(std::uint64_t offset, void* into, std::size_t bytes) const {
  const char* from = at(offset, bytes);
#ifdef TIERRA_CUDA
  if (onGpu_) {
    cudaSetDevice(options_.device);
    const cudaError_t error = cudaMemcpy(into, from, bytes, cudaMemcpyDeviceToHost);
    if (error != cudaSuccess) fail("E_INTERNAL", "reading GPU memory failed: " + cudaText(error));
    return;
  }
#endif
  std::memcpy(into, from, bytes);
}

void Arena::write(std::uint64_t offset, const void* from, std::size_t bytes) {
  char* into = at(offset, bytes);
#ifdef TIERRA_CUDA
  if (onGpu_) {
    cudaSetDevice(options_.device);
    const cudaError_t error = cudaMemcpy(into, from, bytes, cudaMemcpyHostToDevice);
    if (error != cudaSuccess) fail("E_INTERNAL", "writing GPU memory failed: " + cudaText(error));
    return;
  }
#endif
  std::memcpy(into, from, bytes);
}

void Arena::fill(std::uint64_t offset, std::size_t bytes, unsigned char value) {
  char* into = at(offset, bytes);
#ifdef TIERRA_CUDA
  if (onGpu_) {
    cudaSetDevice(options_.device);
    cudaError_t error = cudaMemset(into, value, bytes);
    if (error == cudaSuccess) error = cudaStreamSynchronize(nullptr);
    if (error != cudaSuccess) fail("E_INTERNAL", "filling GPU memory failed: " + cudaText(error));
    return;
  }
#endif
  std::memset(into, value, bytes);
}

std::uint64_t allocationCount() { return allocations.load(std::memory_order_relaxed); }
void countAllocation() { allocations.fetch_add(1, std::memory_order_relaxed); }

std::string lockedMemoryHint() {
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  const std::string now =
      limit.rlim_cur == RLIM_INFINITY ? "unlimited" : bytesText(static_cast<double>(limit.rlim_cur));
  return "The limit on locked memory is " + now +
         "; raise it with `ulimit -l unlimited`, `docker run --ulimit memlock=-1`, or LimitMEMLOCK=infinity in systemd.";
}

}  // namespace tierra::memory
