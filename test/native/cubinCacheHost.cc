// The cache of compiled kernels in the folder that XDG_CACHE_HOME names: what it gives back, and what it refuses. Prints what
// went wrong, then "done".
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cuda/cubinCache.h"

using namespace tierra::cuda;
namespace fs = std::filesystem;

namespace {

void expect(bool holds, const char* what) {
  if (!holds) std::printf("not so: %s\n", what);
}

fs::path onlyFile() {
  fs::path found;
  int count = 0;
  for (const auto& entry : fs::directory_iterator(cacheFolder())) {
    found = entry.path();
    ++count;
  }
  expect(count == 1, "one file and nothing beside it");
  return found;
}

}  // namespace

int main() {
  const std::vector<char> code(3 << 20, 'k');
  expect(!readCubin("a").has_value(), "nothing is found in an empty cache");
  keepCubin("a", code);
  expect(readCubin("a") == code, "what was kept is given back");
  expect(!readCubin("b").has_value(), "another key finds nothing");

  const fs::path file = onlyFile();
  {
    std::fstream bytes(file, std::ios::binary | std::ios::in | std::ios::out);
    bytes.seekp(2 << 20);
    bytes.put('x');
  }
  expect(!readCubin("a").has_value(), "a flipped byte is seen");
  keepCubin("a", code);
  expect(readCubin("a") == code, "a damaged file is replaced");
  fs::resize_file(file, 100);
  expect(!readCubin("a").has_value(), "a file cut short is seen");
  fs::resize_file(file, 3);
  expect(!readCubin("a").has_value(), "less than a header is seen");

  setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);
  keepCubin("a", code);
  expect(!readCubin("a").has_value(), "a folder that cannot be made is no failure");
  setenv("XDG_CACHE_HOME", "relative", 1);
  unsetenv("HOME");
  expect(cacheFolder().empty(), "without a home there is no cache");
  keepCubin("a", code);
  expect(!readCubin("a").has_value(), "without a cache nothing is found");
  std::printf("done\n");
}
