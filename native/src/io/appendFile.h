// A file that is written once, front to back, and hashed on the way: what checkpoints are made of.
//
// The first failure poisons it: what comes after is ignored, and whoever asks for the result gets that failure. A failed
// flush is never tried again on the same file, since the kernel may have dropped the pages.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "io/failure.h"
#include "io/sha256.h"

namespace tierra::io {

using AppendFileId = std::uint64_t;

class AppendFile {
 public:
  /// Creates the file, which must not exist. Throws NativeError E_IO.
  explicit AppendFile(std::string path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  // From any one thread at a time; they never throw.
  void append(const void* data, std::uint64_t bytes);
  /// Flushes to the device and closes: the file is finished.
  void finish();

  struct Result {
    std::uint64_t bytes;
    std::string sha256;
  };
  /// Nothing before `finish`. Throws the failure that poisoned the file.
  std::optional<Result> result() const;
  const std::string& path() const { return path_; }

 private:
  void write(const char* from, std::uint64_t bytes);
  void poison(const char* action, int error);
  void close();

  const std::string path_;
  mutable std::mutex mutex_;
  int fd_ = -1;
  std::uint64_t bytes_ = 0;
  std::unique_ptr<Sha256> hash_;
  std::optional<Failure> failure_;
  std::optional<Result> result_;
};

AppendFileId openAppendFile(const std::string& path);
/// Throws NativeError E_STATE for an unknown id.
std::shared_ptr<AppendFile> findAppendFile(AppendFileId id);
/// Forgets the file; what still writes it keeps it until then.
void closeAppendFile(AppendFileId id);

}  // namespace tierra::io
