#include "swapFiles.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "memory/arena.h"
#include "extent.h"
#include "failure.h"

#include "faults.h"

namespace tierra::io {
namespace {

constexpr char lockName[] = "tierra-swap.lock";
constexpr char filePrefix[] = "tierra-swap-";
constexpr char fileSuffix[] = ".bin";
constexpr std::uint64_t stripe = 4 << 20;
constexpr long tmpfsMagic = 0x01021994;
constexpr long ramfsMagic = 0x858458f6;

[[noreturn]] void failIo(const std::string& what, const std::string& path, int error, const std::string& hint = {}) {
  fail("E_IO", what + " " + path + ": " + errnoText(error), hint,
       {{"path", path}, {"errno", static_cast<double>(error)}});
}

void requireFolder(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    const int error = errno;
    if (error != ENOENT || ::mkdir(path.c_str(), 0700) != 0) {
      fail("E_CONFIG", "the swap folder " + path + " cannot be used: " + errnoText(error == ENOENT ? errno : error),
           "memory.nvme.path must name a folder that exists or whose parent exists.", {{"path", path}});
    }
    return;
  }
  if (!S_ISDIR(info.st_mode)) {
    fail("E_CONFIG", "the swap path " + path + " is not a folder",
         "memory.nvme.path takes a folder on the disk; the swap file in it is made and removed by the run.",
         {{"path", path}});
  }
}

std::string readAll(int descriptor) {
  char text[256] = {};
  const ssize_t bytes = pread(descriptor, text, sizeof text - 1, 0);
  return std::string(text, bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
}

bool startsAndEnds(const std::string& name, const std::string& start, const std::string& end) {
  return name.size() >= start.size() + end.size() && name.starts_with(start) && name.ends_with(end);
}

}  // namespace

SwapFiles::SwapFiles(const Options& options) : bytes_(options.bytes), stripeBytes_(stripe) {
  if (options.paths.empty() || options.bytes == 0) fail("E_ARGUMENT", "a swap needs at least one folder and one byte");
  const std::uint64_t count = options.paths.size();
  const std::uint64_t stripes = (options.bytes + stripe - 1) / stripe;
  const std::uint64_t perFile =
      count == 1 ? roundUpToSector(options.bytes) : (stripes + count - 1) / count * stripe;
  try {
    std::map<std::string, std::uint64_t> files;
    for (const auto& path : options.paths) {
      requireFolder(path);
      if (files[path]++ == 0) {
        lock(path, options.runId);
        clean(path);
      }
    }
    direct_ = options.direct;
    if (!direct_) reasons_.push_back("O_DIRECT was not asked for");
    for (std::size_t i = 0; i < options.paths.size(); ++i) {
      descriptors_.push_back(open(options.paths[i], i, direct_));
      names_.push_back(options.paths[i] + "/" + filePrefix + std::to_string(i) + fileSuffix);
      learnAlignment(descriptors_.back(), options.paths[i]);
      reserve(descriptors_.back(), options.paths[i], perFile);
      memory::countAllocation();
    }
  } catch (...) {
    close();
    throw;
  }
}

SwapFiles::~SwapFiles() { close(); }

void SwapFiles::close() {
  for (const int descriptor : descriptors_) ::close(descriptor);
  descriptors_.clear();
  for (const auto& held : locks_) {
    // Unlinked while still locked: whoever waits on this inode sees that the name is gone and takes the new one.
    ::unlink(held.path.c_str());
    ::close(held.descriptor);
  }
  locks_.clear();
}

void SwapFiles::lock(const std::string& folder, const std::string& runId) {
  const std::string path = folder + "/" + lockName;
  for (int attempt = 0; attempt < 100; ++attempt) {
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0) failIo("cannot make the lock file", path, errno, "The swap folder must be writable.");
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      const std::string holder = readAll(descriptor);
      ::close(descriptor);
      if (error != EWOULDBLOCK) failIo("cannot lock", path, error);
      fail("E_IO", "the swap folder " + folder + " is in use by another run (" + holder + ")",
           "Give each run a folder of its own in memory.nvme.path, or stop the other run.",
           {{"path", folder}, {"holder", holder}});
    }
    struct stat mine {}, named {};
    if (fstat(descriptor, &mine) == 0 && ::stat(path.c_str(), &named) == 0 && mine.st_ino == named.st_ino) {
      const std::string text = "pid " + std::to_string(getpid()) + ", run " + runId;
      if (ftruncate(descriptor, 0) != 0 || pwrite(descriptor, text.data(), text.size(), 0) < 0) {
        const int error = errno;
        ::close(descriptor);
        failIo("cannot write the lock file", path, error);
      }
      locks_.push_back({folder, path, descriptor});
      return;
    }
    ::close(descriptor);
  }
  fail("E_IO", "the lock file " + path + " keeps being replaced", "Another process makes and removes it over and over.");
}

void SwapFiles::clean(const std::string& folder) {
  DIR* listing = opendir(folder.c_str());
  if (!listing) failIo("cannot list the swap folder", folder, errno);
  std::vector<std::string> found;
  while (const dirent* entry = readdir(listing)) {
    if (startsAndEnds(entry->d_name, filePrefix, fileSuffix)) found.push_back(folder + "/" + entry->d_name);
  }
  closedir(listing);
  for (const auto& path : found) {
    // We hold the folder's lock, so whoever made this file is gone.
    if (::unlink(path.c_str()) == 0) leftovers_.push_back(path);
    else reasons_.push_back("the leftover " + path + " cannot be removed: " + errnoText(errno));
  }
}

int SwapFiles::open(const std::string& folder, std::size_t index, bool direct) {
  const int flags = O_RDWR | O_CLOEXEC | (direct ? O_DIRECT : 0);
  int descriptor = ::open(folder.c_str(), flags | O_TMPFILE, 0600);
  if (descriptor < 0 && errno != EINVAL && errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT) {
    failIo("cannot make a swap file in", folder, errno);
  }
  if (descriptor < 0) {
    const std::string path = folder + "/" + filePrefix + std::to_string(index) + fileSuffix;
    descriptor = ::open(path.c_str(), flags | O_CREAT | O_EXCL, 0600);
    const int error = errno;
    ::unlink(path.c_str());
    if (descriptor < 0 && direct && error == EINVAL) {
      giveUpDirect("the file system of " + folder + " has no O_DIRECT");
      return open(folder, index, false);
    }
    if (descriptor < 0) failIo("cannot make the swap file", path, error);
  }
  return descriptor;
}

void SwapFiles::learnAlignment(int descriptor, const std::string& folder) {
  struct statfs system {};
  if (fstatfs(descriptor, &system) == 0 && (system.f_type == tmpfsMagic || system.f_type == ramfsMagic)) {
    giveUpDirect(folder + " is on tmpfs: what is swapped there stays in RAM");
  }
  if (!direct_) return;
  alignment_ = std::max(alignment_, sectorBytes);
#ifdef STATX_DIOALIGN
  struct statx info {};
  if (statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 && (info.stx_mask & STATX_DIOALIGN)) {
    if (info.stx_dio_offset_align == 0) giveUpDirect("the file system of " + folder + " reports no direct I/O");
    alignment_ = std::max<std::size_t>({alignment_, info.stx_dio_offset_align, info.stx_dio_mem_align});
  }
#endif
  if (direct_ && alignment_ > sectorBytes) {
    giveUpDirect("direct I/O in " + folder + " wants blocks of " + std::to_string(alignment_) + " bytes, extents have 4096");
  }
}

void SwapFiles::giveUpDirect(const std::string& reason) {
  reasons_.push_back("no direct I/O: " + reason);
  direct_ = false;
  alignment_ = 1;
  for (const int descriptor : descriptors_) {
    const int flags = fcntl(descriptor, F_GETFL);
    fcntl(descriptor, F_SETFL, flags & ~O_DIRECT);
  }
}

void SwapFiles::reserve(int descriptor, const std::string& folder, std::uint64_t bytes) {
  const auto fault = faults::hit(faults::Site::ioReserve);
  int error = fault ? fault->error : 0;
  if (!fault && fallocate(descriptor, 0, 0, static_cast<off_t>(bytes)) != 0) error = errno;
  if (error == EOPNOTSUPP) {
    // Zeros written now hold the space as well, only slower.
    reasons_.push_back("the file system of " + folder + " has no fallocate: the swap file is filled with zeros instead");
    error = 0;
    std::vector<char> zeros((1 << 20) + sectorBytes);
    char* aligned = zeros.data() + (sectorBytes - reinterpret_cast<std::uintptr_t>(zeros.data()) % sectorBytes) % sectorBytes;
    for (std::uint64_t at = 0; at < bytes && error == 0;) {
      const auto length = std::min<std::uint64_t>(1 << 20, bytes - at);
      const ssize_t written = pwrite(descriptor, aligned, length, static_cast<off_t>(at));
      if (written > 0) at += static_cast<std::uint64_t>(written);
      else if (written == 0 || errno != EINTR) error = written == 0 ? EIO : errno;
    }
  }
  if (error == 0) return;
  struct statvfs room {};
  fstatvfs(descriptor, &room);
  const double have = static_cast<double>(room.f_bavail) * static_cast<double>(room.f_frsize);
  const double need = static_cast<double>(bytes);
  const bool isFull = error == ENOSPC || error == EDQUOT || error == EFBIG;
  fail(isFull ? "E_OUT_OF_MEMORY" : "E_IO",
       "cannot reserve " + bytesText(need) + " of swap in " + folder + ": " + errnoText(error) + "; " + bytesText(have) +
           " are free there",
       isFull ? "Lower memory.nvme.size, free space, or add a second folder to memory.nvme.path." : "",
       {{"path", folder}, {"neededBytes", need}, {"freeBytes", have}, {"errno", static_cast<double>(error)}});
}

SwapPlace SwapFiles::place(std::uint64_t offset, std::uint64_t bytes) const {
  const std::uint64_t count = descriptors_.size();
  if (count == 1) return {0, offset, bytes};
  const std::uint64_t number = offset / stripeBytes_;
  const std::uint64_t within = offset % stripeBytes_;
  return {static_cast<int>(number % count), number / count * stripeBytes_ + within, std::min(bytes, stripeBytes_ - within)};
}

}  // namespace tierra::io
