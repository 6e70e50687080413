#include "cuda/launch.h"

#ifdef TIERRA_CUDA

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <map>
#include <mutex>
#include <utility>

#include "core/cuda.h"
#include "core/error.h"
#include "cuda/cubinCache.h"
#include "cuda/driver.h"
#include "cuda/kernelSources.h"
#include "kernelArguments.h"

namespace tierra::cuda {

namespace {

// Machine code runs on its own and every later minor version of the same major one.
int architectureFor(const Properties& device, const Nvrtc& compiler) {
  const int wanted = device.major * 10 + device.minor;
  int best = 0;
  for (const int known : compiler.architectures()) {
    if (known / 10 == device.major && known <= wanted) best = known;
  }
  if (best == 0) {
    fail("E_UNSUPPORTED", "NVRTC " + compiler.describe() + " does not compile for " + device.name + " (sm_" +
                              std::to_string(wanted) + ")",
         "Install a torch built for a newer CUDA.");
  }
  return best;
}

std::vector<char> codeOf(const Program& program, int device) {
  const Nvrtc& compiler = Nvrtc::get();
  const std::string architecture = "sm_" + std::to_string(architectureFor(properties(device), compiler));
  const std::string key = program.name.substr(0, program.name.find('.')) + "-" + architecture + "-nvrtc" +
                          std::to_string(compiler.major()) + "." + std::to_string(compiler.minor()) + "-" +
                          sourceKey(program);
  if (auto kept = readCubin(key)) return *kept;
  std::vector<char> code = compiler.compile(program, architecture);
  keepCubin(key, code);
  return code;
}

driver::Function functionOf(const Kernel& kernel, int device) {
  static std::mutex mutex;
  static std::map<std::pair<int, std::string>, void*> modules;
  static std::map<std::pair<int, const char*>, driver::Function> functions;  // entry names are literals
  std::lock_guard lock(mutex);
  auto& function = functions[{device, kernel.entry}];
  if (function != nullptr) return function;
  auto& module = modules[{device, kernel.file}];
  if (module == nullptr) module = driver::loadModule(codeOf(kernelProgram(kernel.file), device), kernel.file);
  return function = driver::findFunction(module, kernel.entry);
}

// The driver works in the thread's current context, which a thread of autograd's may not have yet: the runtime binds it only
// when it is first needed, and memory that libtorch has cached needs no call.
void bindContext(int device) {
  thread_local int bound = -1;
  if (bound == device) return;
  C10_CUDA_CHECK(cudaSetDevice(device));
  C10_CUDA_CHECK(cudaFree(nullptr));
  bound = device;
}

}  // namespace

void launch(const Kernel& kernel, int device, unsigned blocks, const void* arguments, unsigned sharedBytes) {
  if (blocks == 0) return;
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
  bindContext(device);
  const driver::Function function = functionOf(kernel, device);
  const auto stream = c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device));
  void* parameters[] = {const_cast<void*>(arguments)};
  driver::launch(function, kernel.entry, blocks, kernelThreads, sharedBytes, stream.stream(), parameters);
}

}  // namespace tierra::cuda

#endif  // TIERRA_CUDA
