#include "cuda/cubinCache.h"

#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "io/checksum.h"

namespace tierra::cuda {

namespace fs = std::filesystem;

namespace {

struct Header {
  std::array<char, 8> magic;
  std::uint64_t bytes;
  std::uint64_t checksum;
};

constexpr std::array<char, 8> magic = {'t', 'i', 'e', 'r', 'r', 'a', 'k', '1'};

std::uint64_t checksum(const std::vector<char>& code) {
  std::vector<std::uint64_t> pieces;
  for (std::size_t at = 0; at < code.size(); at += io::checksumPieceBytes) {
    pieces.push_back(io::hashPiece(code.data() + at, std::min(io::checksumPieceBytes, code.size() - at)));
  }
  return io::combine(pieces.data(), pieces.size(), code.size());
}

fs::path fileOf(const std::string& key) { return fs::path(cacheFolder()) / (key + ".cubin"); }

}  // namespace

std::string cacheFolder() {
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return (fs::path(cache) / "tierra/kernels").string();
  const char* const home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return (fs::path(home) / ".cache/tierra/kernels").string();
  return {};
}

std::optional<std::vector<char>> readCubin(const std::string& key) {
  if (cacheFolder().empty()) return std::nullopt;
  std::ifstream file(fileOf(key), std::ios::binary);
  Header header{};
  if (!file.read(reinterpret_cast<char*>(&header), sizeof header) || header.magic != magic) return std::nullopt;
  std::error_code problem;
  if (fs::file_size(fileOf(key), problem) != sizeof header + header.bytes || problem) return std::nullopt;
  std::vector<char> code(header.bytes);
  if (!file.read(code.data(), static_cast<std::streamsize>(code.size()))) return std::nullopt;
  if (checksum(code) != header.checksum) return std::nullopt;
  return code;
}

void keepCubin(const std::string& key, const std::vector<char>& code) {
  if (cacheFolder().empty()) return;
  std::error_code problem;
  fs::create_directories(cacheFolder(), problem);
  const fs::path target = fileOf(key);
  // Two processes may compile the same kernel at once: each renames a file of its own.
  const fs::path beside = target.string() + "." + std::to_string(::getpid()) + ".tmp";
  {
    std::ofstream file(beside, std::ios::binary | std::ios::trunc);
    const Header header{magic, code.size(), checksum(code)};
    file.write(reinterpret_cast<const char*>(&header), sizeof header);
    file.write(code.data(), static_cast<std::streamsize>(code.size()));
    file.close();
    if (file.fail()) {
      fs::remove(beside, problem);
      return;
    }
  }
  fs::rename(beside, target, problem);
  if (problem) fs::remove(beside, problem);
}

}  // namespace tierra::cuda
