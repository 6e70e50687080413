// Fault points, compiled in always: `TIERRA_FAULT=io.write:EIO@k=7` makes the 7th write fail.
//
//   plan    = rule *( ";" rule )
//   rule    = site ":" kind [ "@" setting *( "," setting ) ]
//   setting = "k=" n       the n-th hit only (default k=1)
//           | "every=" n   every n-th hit
//           | "from=" n    the n-th hit and all after it
//           | "rank=" n    only in the process whose RANK is n
//   kind    = an errno name ("EIO", "ENOSPC", "EINTR", "EAGAIN", "EPERM", ...) | "short" | "slow" (20 ms) | "kill"
//
// Sites that native code does not have are ignored: TypeScript has sites of its own in the same variable.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tierra::faults {

enum class Site {
  ioSetup,      // io_uring_setup
  ioRegister,   // one buffer slice, or the files of a ring
  ioReserve,    // reserving a swap file's space
  ioRead,       // one read request, any back end
  ioWrite,      // one write request, any back end
  ioFsync,      // one fdatasync
  arenaMap,     // one arena mapping
  cudaAlloc,    // one cudaMalloc
  cudaRegister, // one cudaHostRegister
  copy,         // one transfer between arenas
  update,       // one optimizer ticket
  saveCopy,     // one copy into a checkpoint's buffer; only "kill"
  saveWrite,    // one write to a checkpoint's file
  saveFsync,    // flushing one
  count_,
};

struct Fault {
  bool isShort = false;
  int error = 0;  // errno, when not short
};

/// Counts the hit and says what should go wrong with it. A rule of kind "kill" does not return.
std::optional<Fault> hit(Site site);

/// Replaces the plan and sets all counters to zero; an empty text disarms. Throws NativeError on bad grammar.
void arm(const std::string& plan);

/// Hits since the last `arm`; throws NativeError for a name no site has.
std::uint64_t hits(const std::string& site);

std::vector<std::string> siteNames();

}  // namespace tierra::faults
