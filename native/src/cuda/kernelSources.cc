#include "cuda/kernelSources.h"

#include <cstdint>
#include <cstdio>

#include "core/error.h"

namespace tierra::cuda {

namespace {

struct File {
  const char* name;
  const char* text;
};

// Written by CMake from native/kernels.
constexpr File files[] = {
#include "kernelFiles.inc"
};

std::vector<Program> readPrograms() {
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<Program> programs;
  for (const File& file : files) {
    const std::string name = file.name;
    if (!name.ends_with(".cu")) headers.emplace_back(name, file.text);
  }
  for (const File& file : files) {
    const std::string name = file.name;
    if (name.ends_with(".cu")) programs.push_back({name, file.text, headers});
  }
  return programs;
}

class Fnv {
 public:
  void add(const std::string& text) {
    for (const unsigned char byte : text) step(byte);
    step(0);
  }
  std::uint64_t value() const { return value_; }

 private:
  void step(unsigned char byte) { value_ = (value_ ^ byte) * 0x100000001b3u; }
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

}  // namespace

const std::vector<Program>& kernelPrograms() {
  static const std::vector<Program> programs = readPrograms();
  return programs;
}

const Program& kernelProgram(const std::string& name) {
  for (const Program& program : kernelPrograms()) {
    if (program.name == name) return program;
  }
  fail("E_INTERNAL", "the addon carries no kernel file called " + name);
}

std::string sourceKey(const Program& program) {
  Fnv hash;
  hash.add(program.source);
  for (const auto& [name, text] : program.headers) {
    hash.add(name);
    hash.add(text);
  }
  for (const std::string& option : Nvrtc::options()) hash.add(option);
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash.value()));
  return text;
}

}  // namespace tierra::cuda
