// Moves blocks between memory and files: io_uring, or threads that call pread and pwrite. What a block is part of, and
// what to do about a result, is the lane's business, the same for both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "memory/arena.h"

namespace tierra::io {

struct BlockRequest {
  bool write;
  int file;  // index into the descriptors the back end was made with
  char* data;
  std::size_t bytes;
  std::uint64_t offset;
  std::int64_t result;  // bytes moved or -errno, set before `reap` hands it out
};

class Backend : public memory::BufferRegistrar {
 public:
  /// Takes the request, which must stay where it is until `reap` hands it back. At most `depth` are in flight.
  virtual void submit(BlockRequest* request) = 0;
  /// Appends finished requests to `done`; waits for at least one when `wait` and any is in flight. Returns 0, or an errno
  /// when the back end itself is broken.
  virtual int reap(bool wait, std::vector<BlockRequest*>& done) = 0;

  virtual const char* name() const = 0;
  virtual bool filesRegistered() const { return false; }
  /// Slices of host memory registered with the kernel.
  virtual std::size_t buffersRegistered() const { return 0; }
  virtual std::vector<std::string> notes() const { return {}; }
  /// Completions that the kernel could not queue; anything but 0 is a defect.
  virtual std::uint64_t overflows() const { return 0; }
};

/// Throws NativeError E_UNSUPPORTED where the kernel, a sandbox or this build has no io_uring.
std::unique_ptr<Backend> makeUringBackend(const std::vector<int>& files, unsigned depth);
std::unique_ptr<Backend> makeThreadBackend(const std::vector<int>& files, unsigned depth);

}  // namespace tierra::io
