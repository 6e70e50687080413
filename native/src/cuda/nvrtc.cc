#include "cuda/nvrtc.h"

#include <c10/core/Allocator.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "core/error.h"

namespace tierra::cuda {

namespace fs = std::filesystem;

// The part of nvrtc.h that is used; its interface has been stable since CUDA 11.1.
struct Nvrtc::Functions {
  using Handle = void*;
  int (*version)(int* major, int* minor);
  int (*getNumSupportedArchs)(int* count);
  int (*getSupportedArchs)(int* archs);
  int (*createProgram)(Handle* program, const char* source, const char* name, int headers, const char* const* contents,
                       const char* const* names);
  int (*compileProgram)(Handle program, int count, const char* const* options);
  int (*destroyProgram)(Handle* program);
  int (*getCubinSize)(Handle program, std::size_t* bytes);
  int (*getCubin)(Handle program, char* into);
  int (*getProgramLogSize)(Handle program, std::size_t* bytes);
  int (*getProgramLog)(Handle program, char* into);
  const char* (*getErrorString)(int result);
};

namespace {

// Kernel parameters by value and the architectures that we name: CUDA 12 is the oldest that torch comes with.
constexpr int majors[] = {13, 12};

std::vector<fs::path> foldersBesideTorch() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&c10::GetAllocator), &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code ignored;
  const fs::path torch = fs::weakly_canonical(info.dli_fname, ignored).parent_path();
  const fs::path packages = torch.parent_path().parent_path();
  return {packages / "nvidia/cu13/lib", packages / "nvidia/cuda_nvrtc/lib", torch};
}

std::vector<fs::path> foldersOfToolkits() {
  std::vector<fs::path> folders;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') folders.push_back(fs::path(value) / "lib64");
  }
  folders.push_back("/usr/local/cuda/lib64");
  return folders;
}

// Full paths first, then bare names for the loader's own search.
std::vector<std::string> candidates() {
  std::vector<std::string> files;
  const auto add = [&](const fs::path& folder) {
    for (const int major : majors) files.push_back((folder / ("libnvrtc.so." + std::to_string(major))).string());
  };
  const char* const asked = std::getenv("TIERRA_NVRTC");
  if (asked != nullptr && *asked != '\0') {
    std::error_code ignored;
    if (fs::is_directory(asked, ignored)) {
      add(asked);
    } else {
      files.emplace_back(asked);
    }
    return files;  // what was asked for, or nothing
  }
  for (const fs::path& folder : foldersBesideTorch()) add(folder);
  for (const fs::path& folder : foldersOfToolkits()) add(folder);
  for (const int major : majors) files.push_back("libnvrtc.so." + std::to_string(major));
  return files;
}

// The compiler opens its built-in headers by bare name; one that is open already is found whatever the search path.
void openBuiltins(const fs::path& library) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(library.parent_path(), ignored)) {
    if (entry.path().filename().string().starts_with("libnvrtc-builtins.so")) {
      dlopen(entry.path().c_str(), RTLD_NOW | RTLD_GLOBAL);
    }
  }
}

template <class Function>
bool bind(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

bool Nvrtc::open(const std::string& file, std::string& problem) {
  const bool named = file.find('/') != std::string::npos;
  std::error_code ignored;
  if (named && !fs::exists(file, ignored)) {
    problem = "not there";
    return false;
  }
  if (named) openBuiltins(file);
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = dlerror();
    problem = reason != nullptr ? reason : "cannot be opened";
    return false;
  }
  auto* found = new Functions{};
  const bool complete = bind(library, "nvrtcVersion", found->version) &&
                        bind(library, "nvrtcGetNumSupportedArchs", found->getNumSupportedArchs) &&
                        bind(library, "nvrtcGetSupportedArchs", found->getSupportedArchs) &&
                        bind(library, "nvrtcCreateProgram", found->createProgram) &&
                        bind(library, "nvrtcCompileProgram", found->compileProgram) &&
                        bind(library, "nvrtcDestroyProgram", found->destroyProgram) &&
                        bind(library, "nvrtcGetCUBINSize", found->getCubinSize) &&
                        bind(library, "nvrtcGetCUBIN", found->getCubin) &&
                        bind(library, "nvrtcGetProgramLogSize", found->getProgramLogSize) &&
                        bind(library, "nvrtcGetProgramLog", found->getProgramLog) &&
                        bind(library, "nvrtcGetErrorString", found->getErrorString);
  if (!complete || found->version(&major_, &minor_) != 0) {
    problem = "is not an NVRTC of CUDA 12 or later";
    delete found;
    dlclose(library);
    return false;
  }
  functions_ = found;
  file_ = file;
  return true;
}

const Nvrtc& Nvrtc::get() {
  static std::mutex mutex;
  static Nvrtc* opened = nullptr;
  std::lock_guard lock(mutex);
  if (opened != nullptr) return *opened;
  std::string looked;
  Nvrtc candidate;
  for (const std::string& file : candidates()) {
    std::string problem;
    if (candidate.open(file, problem)) return *(opened = new Nvrtc(candidate));
    looked += (looked.empty() ? "" : "; ") + file + ": " + problem;
  }
  fail("E_UNSUPPORTED", "NVRTC, the run-time compiler for kernels, was not found (" + looked + ")",
       "It comes with a CUDA build of torch. Set TIERRA_NVRTC to the folder of libnvrtc.so.13, or install it beside torch: "
       "pip install nvidia-cuda-nvrtc");
}

std::string Nvrtc::describe() const {
  return std::to_string(major_) + "." + std::to_string(minor_) + " in " + file_;
}

std::vector<int> Nvrtc::architectures() const {
  int count = 0;
  functions_->getNumSupportedArchs(&count);
  std::vector<int> found(static_cast<std::size_t>(std::max(count, 0)));
  if (!found.empty()) functions_->getSupportedArchs(found.data());
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<std::string> Nvrtc::options() {
  return {"--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true", "--generate-line-info"};
}

std::vector<char> Nvrtc::compile(const Program& program, const std::string& architecture) const {
  std::vector<const char*> names, contents;
  for (const auto& [name, content] : program.headers) {
    names.push_back(name.c_str());
    contents.push_back(content.c_str());
  }
  std::vector<std::string> options = Nvrtc::options();
  options.push_back("--gpu-architecture=" + architecture);
  std::vector<const char*> arguments;
  for (const std::string& option : options) arguments.push_back(option.c_str());

  Functions::Handle handle = nullptr;
  int result = functions_->createProgram(&handle, program.source.c_str(), program.name.c_str(),
                                         static_cast<int>(names.size()), contents.data(), names.data());
  if (result == 0) result = functions_->compileProgram(handle, static_cast<int>(arguments.size()), arguments.data());
  std::size_t bytes = 0;
  if (result == 0) result = functions_->getCubinSize(handle, &bytes);
  std::vector<char> code(bytes);
  if (result == 0) result = functions_->getCubin(handle, code.data());
  std::string log;
  if (handle != nullptr) {
    std::size_t length = 0;
    if (functions_->getProgramLogSize(handle, &length) == 0 && length > 1) {
      log.resize(length);
      functions_->getProgramLog(handle, log.data());
      log.resize(length - 1);
    }
    functions_->destroyProgram(&handle);
  }
  if (result != 0 || code.empty()) {
    fail("E_INTERNAL",
         "NVRTC " + describe() + " could not compile " + program.name + " for " + architecture + ": " +
             functions_->getErrorString(result) + (log.empty() ? "" : "\n" + log),
         "If the architecture is at fault, the compiler knows sm_" + std::to_string(architectures().front()) + " to sm_" +
             std::to_string(architectures().back()) + ".",
         {{"log", log}});
  }
  return code;
}

}  // namespace tierra::cuda
