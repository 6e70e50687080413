// NVIDIA's run-time compiler, found and opened when first needed: nothing links to it, so that a build without CUDA
// compiles kernels too (for checks), and no toolkit is asked for.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tierra::cuda {

/// A source with the files it includes, by name.
struct Program {
  std::string name;
  std::string source;
  std::vector<std::pair<std::string, std::string>> headers;
};

class Nvrtc {
 public:
  /// Looks in `TIERRA_NVRTC` (a file or its folder), beside torch, in the toolkit, then where the loader looks. Throws
  /// E_UNSUPPORTED naming every place. A failure is not remembered.
  static const Nvrtc& get();

  int major() const { return major_; }
  int minor() const { return minor_; }
  /// "13.0 in /path/libnvrtc.so.13".
  std::string describe() const;
  /// Compute capabilities it compiles for, ascending: 90 for sm_90.
  std::vector<int> architectures() const;
  /// Machine code for `architecture`, e.g. "sm_90". Throws E_INTERNAL with the compiler's log.
  std::vector<char> compile(const Program& program, const std::string& architecture) const;
  /// What every kernel is compiled with, beside the architecture: arithmetic as written, denormals kept.
  static std::vector<std::string> options();

 private:
  Nvrtc() = default;
  bool open(const std::string& file, std::string& problem);

  int major_ = 0;
  int minor_ = 0;
  std::string file_;
  struct Functions;
  Functions* functions_ = nullptr;  // never freed: the library stays open
};

}  // namespace tierra::cuda
