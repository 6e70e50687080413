#include "io/appendFile.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <map>
#include <system_error>

#include "io/faults.h"

namespace tierra::io {
namespace {

std::mutex tableMutex;
auto& table = *new std::map<AppendFileId, std::shared_ptr<AppendFile>>;
AppendFileId nextId = 1;

/// What one call hands to the kernel.
constexpr std::uint64_t pieceBytes = 1 << 20;
/// From here on a thread of its own is worth starting.
constexpr std::uint64_t hashAsideBytes = 4 << 20;

std::string hintFor(int error) {
  if (error == ENOSPC) return "The disk is full: free some space, or choose an output folder on a larger disk.";
  if (error == EDQUOT) return "The disk quota is used up: free some space, or choose another output folder.";
  if (error == EFBIG) return "The file grew past a limit: look at `ulimit -f` and at the largest file the file system allows.";
  if (error == EIO) return "The disk reports a hardware error: look at the kernel log (`dmesg`) before trusting this disk again.";
  return "";
}

Failure ioFailure(const std::string& path, const char* action, int error) {
  return Failure("E_IO", path + ": cannot " + action + ": " + errnoText(error), hintFor(error),
                 {{"path", path}, {"errno", static_cast<double>(error)}});
}

template <class Work>
std::future<void> aside(const Work& work) {
  try {
    return std::async(std::launch::async, work);
  } catch (const std::system_error&) {  // no more threads: when it is waited for
    return std::async(std::launch::deferred, work);
  }
}

}  // namespace

AppendFile::AppendFile(std::string path) : path_(std::move(path)), hash_(makeSha256()) {
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) throw ioFailure(path_, "create", errno);
}

AppendFile::~AppendFile() { close(); }

void AppendFile::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void AppendFile::poison(const char* action, int error) {
  failure_ = ioFailure(path_, action, error);
  close();
}

void AppendFile::append(const void* data, std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (failure_ || fd_ < 0) return;
  // Of what is handed to the kernel, not of what is read back; both take about as long, so one goes on beside the other.
  const auto hash = [this, data, bytes] { hash_->update(data, static_cast<std::size_t>(bytes)); };
  const auto hashed = bytes >= hashAsideBytes ? aside(hash) : std::async(std::launch::deferred, hash);
  write(static_cast<const char*>(data), bytes);
  hashed.wait();
}

void AppendFile::write(const char* from, std::uint64_t bytes) {
  while (bytes > 0 && !failure_ && fd_ >= 0) {
    const auto fault = faults::hit(faults::Site::saveWrite);
    std::uint64_t asked = std::min(bytes, pieceBytes);
    if (fault && fault->isShort) asked = std::max<std::uint64_t>(1, asked / 2);
    ssize_t put = -1;
    if (fault && !fault->isShort) {
      errno = fault->error;
    } else {
      put = ::write(fd_, from, asked);
    }
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return poison("write", put == 0 ? EIO : errno);
    from += put;
    bytes -= static_cast<std::uint64_t>(put);
    bytes_ += static_cast<std::uint64_t>(put);
  }
}

void AppendFile::finish() {
  std::lock_guard lock(mutex_);
  if (failure_ || result_) return;
  const auto fault = faults::hit(faults::Site::saveFsync);
  if (fault) errno = fault->error;
  if (fault || ::fsync(fd_) != 0) return poison("flush to disk", errno);
  close();
  result_ = Result{bytes_, hash_->finish()};
}

std::optional<AppendFile::Result> AppendFile::result() const {
  std::lock_guard lock(mutex_);
  if (failure_) throw Failure(*failure_);
  return result_;
}

AppendFileId openAppendFile(const std::string& path) {
  auto made = std::make_shared<AppendFile>(path);
  std::lock_guard lock(tableMutex);
  table.emplace(nextId, std::move(made));
  return nextId++;
}

std::shared_ptr<AppendFile> findAppendFile(AppendFileId id) {
  std::lock_guard lock(tableMutex);
  const auto found = table.find(id);
  if (found == table.end()) fail("E_STATE", "there is no append file " + std::to_string(id) + " (closed?)");
  return found->second;
}

void closeAppendFile(AppendFileId id) {
  findAppendFile(id);
  std::lock_guard lock(tableMutex);
  table.erase(id);
}

}  // namespace tierra::io
