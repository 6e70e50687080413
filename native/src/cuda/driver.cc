#include "cuda/driver.h"

#ifdef TIERRA_CUDA

#include <dlfcn.h>

#include "core/error.h"

namespace tierra::cuda::driver {

namespace {

// As cuda.h declares them; the interface is stable.
struct Driver {
  int (*moduleLoadData)(void** module, const void* image) = nullptr;
  int (*moduleGetFunction)(Function* function, void* module, const char* name) = nullptr;
  int (*launchKernel)(Function function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY,
                      unsigned blockZ, unsigned sharedBytes, void* stream, void** arguments, void** extra) = nullptr;
  int (*getErrorName)(int error, const char** name) = nullptr;
  int (*getErrorString)(int error, const char** text) = nullptr;
};

template <class Pointer>
void bind(void* library, const char* name, Pointer& pointer) {
  pointer = reinterpret_cast<Pointer>(dlsym(library, name));
  if (pointer == nullptr) fail("E_UNSUPPORTED", std::string("the CUDA driver has no ") + name, "Update the driver.");
}

const Driver& opened() {
  static const Driver driver = [] {
    void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) {
      const char* const reason = dlerror();
      fail("E_UNSUPPORTED", std::string("the CUDA driver cannot be opened: ") + (reason != nullptr ? reason : "libcuda.so.1"),
           "Install the NVIDIA driver.");
    }
    Driver found;
    bind(library, "cuModuleLoadData", found.moduleLoadData);
    bind(library, "cuModuleGetFunction", found.moduleGetFunction);
    bind(library, "cuLaunchKernel", found.launchKernel);
    bind(library, "cuGetErrorName", found.getErrorName);
    bind(library, "cuGetErrorString", found.getErrorString);
    return found;
  }();
  return driver;
}

void require(int error, const std::string& what) {
  if (error == 0) return;
  const char* name = nullptr;
  const char* text = nullptr;
  opened().getErrorName(error, &name);
  opened().getErrorString(error, &text);
  fail("E_INTERNAL", what + " failed: " + (name != nullptr ? name : "CUDA error " + std::to_string(error)) + " (" +
                         (text != nullptr ? text : "unknown") + ")",
       "After most CUDA errors the process cannot use the GPU any more: start again from the last checkpoint.",
       {{"cudaError", static_cast<double>(error)}});
}

}  // namespace

void* loadModule(const std::vector<char>& code, const std::string& name) {
  void* module = nullptr;
  require(opened().moduleLoadData(&module, code.data()), "loading the kernels of " + name);
  return module;
}

Function findFunction(void* module, const std::string& entry) {
  Function function = nullptr;
  require(opened().moduleGetFunction(&function, module, entry.c_str()), "finding the kernel " + entry);
  return function;
}

void launch(Function function, const std::string& name, unsigned blocks, unsigned threads, unsigned sharedBytes,
            void* stream, void** arguments) {
  require(opened().launchKernel(function, blocks, 1, 1, threads, 1, 1, sharedBytes, stream, arguments, nullptr),
          "launching the kernel " + name);
}

}  // namespace tierra::cuda::driver

#endif  // TIERRA_CUDA
