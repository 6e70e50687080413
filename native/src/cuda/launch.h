// Kernels of native/kernels on a device: compiled or read from the cache once per process, then launched.
#pragma once

#include <string>

namespace tierra::cuda {

/// A file of native/kernels and one of its entry points. Make one per kernel and keep it (static): it remembers what it
/// loaded for each device.
struct Kernel {
  const char* file;
  const char* entry;
};

/// Launches blocks of `kernelThreads` on `device`'s current libtorch stream (that of the calling thread). `arguments` is the
/// kernel's one parameter.
void launch(const Kernel& kernel, int device, unsigned blocks, const void* arguments, unsigned sharedBytes = 0);

}  // namespace tierra::cuda
