// The files under one swap: locked against other runs, reserved up front, nameless, striped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tierra::io {

struct SwapPlace {
  int file;
  std::uint64_t offset;
  std::uint64_t bytes;  // contiguous from here
};

class SwapFiles {
 public:
  struct Options {
    std::vector<std::string> paths;  // one file each; a folder named twice holds two
    std::uint64_t bytes;             // of all files together
    bool direct;                     // ask for O_DIRECT
    std::string runId;
  };

  /// Throws NativeError: E_CONFIG (no folder), E_IO (held by another run, cannot be opened), E_OUT_OF_MEMORY (no room).
  explicit SwapFiles(const Options& options);
  ~SwapFiles();
  SwapFiles(const SwapFiles&) = delete;
  SwapFiles& operator=(const SwapFiles&) = delete;

  const std::vector<int>& descriptors() const { return descriptors_; }
  const std::string& name(int file) const { return names_[static_cast<std::size_t>(file)]; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t stripeBytes() const { return stripeBytes_; }
  bool direct() const { return direct_; }
  std::size_t alignment() const { return alignment_; }
  const std::vector<std::string>& reasons() const { return reasons_; }
  /// Files of killed runs that were removed.
  const std::vector<std::string>& leftovers() const { return leftovers_; }

  /// Where the byte at `offset` of the swap lies, and how many of `bytes` follow it there.
  SwapPlace place(std::uint64_t offset, std::uint64_t bytes) const;

  /// Turns O_DIRECT off again, with the reason: for a file system that accepts the flag and then refuses the transfers.
  void giveUpDirect(const std::string& reason);

 private:
  struct Lock {
    std::string folder;
    std::string path;
    int descriptor;
  };

  void lock(const std::string& folder, const std::string& runId);
  void clean(const std::string& folder);
  int open(const std::string& folder, std::size_t index, bool direct);
  void reserve(int descriptor, const std::string& folder, std::uint64_t bytes);
  void learnAlignment(int descriptor, const std::string& folder);
  void close();

  std::vector<Lock> locks_;
  std::vector<int> descriptors_;
  std::vector<std::string> names_;
  std::uint64_t bytes_ = 0;
  std::uint64_t stripeBytes_ = 0;
  bool direct_ = false;
  std::size_t alignment_ = 1;
  std::vector<std::string> reasons_;
  std::vector<std::string> leftovers_;
};

}  // namespace tierra::io
