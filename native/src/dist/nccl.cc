// NCCL: collectives between GPUs.
#include "core/error.h"
#include "dist/backend.h"

#ifdef TIERRA_NCCL
#define USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <cstdlib>
#endif

namespace tierra::dist {

#ifdef TIERRA_NCCL

bool hasNccl() { return true; }

MadeBackend makeNccl(const BackendOptions& options) {
  // On a failure the communicator is to be cleaned up, but the process is ours to end: with a message.
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "2", /*overwrite=*/0);
  auto made = c10d::ProcessGroupNCCL::Options::create();
  made->timeout = options.timeout;
  return {c10::make_intrusive<c10d::ProcessGroupNCCL>(options.store, options.rank, options.size, std::move(made)),
          [](c10d::Backend& backend) { backend.abort(); }};
}

#else

bool hasNccl() { return false; }

MadeBackend makeNccl(const BackendOptions&) {
  fail("E_UNSUPPORTED", "this build of the addon has no NCCL",
       "It needs a CUDA build of libtorch and nccl.h (pip install nvidia-nccl-cu12 or -cu13, or libnccl-dev) when it is built: "
       "`npx tierra doctor` says what is missing, `npx tierra setup` builds again. Between CPUs use gloo.");
}

#endif

}  // namespace tierra::dist
