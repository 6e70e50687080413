// The yardstick for swap throughput: as many reads and writes in flight as the swap has, on one ring, and nothing else.
// No dependencies, no checksums, no trailers, no striping. For bench/disk-stream.ts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace tierra::io {

class PlainLoop {
 public:
  virtual ~PlainLoop() = default;
  /// Reads one half of the file and writes the other, both at once, and then they change places; returns the seconds.
  virtual double run() = 0;
};

/// A nameless O_DIRECT file of two halves in `folder`, written once. Throws NativeError.
std::unique_ptr<PlainLoop> makePlainLoop(const std::string& folder, std::uint64_t halfBytes, std::size_t blockBytes,
                                         unsigned depth);

}  // namespace tierra::io
