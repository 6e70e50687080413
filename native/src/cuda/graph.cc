#include "cuda/graph.h"

#include "core/error.h"

#ifdef TIERRA_CUDA

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <map>
#include <mutex>
#include <string>

#include "core/cuda.h"

namespace tierra::cuda {

namespace {

namespace caching = c10::cuda::CUDACachingAllocator;

struct Totals {
  int64_t reserved;
  int64_t allocated;
};

Totals totals(c10::DeviceIndex device) {
  const auto found = caching::getDeviceStats(device);
  constexpr size_t all = 0;  // StatType::AGGREGATE
  return {found.reserved_bytes[all].current, found.allocated_bytes[all].current};
}

// One for all graphs of a device: cuBLAS keeps a workspace for every stream it has seen.
c10::cuda::CUDAStream streamFor(c10::DeviceIndex device) {
  static std::mutex mutex;
  static std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;
  const std::lock_guard lock(mutex);
  const auto known = streams.find(device);
  if (known != streams.end()) return known->second;
  return streams.emplace(device, c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device)).first->second;
}

// Over the runtime rather than at::cuda::CUDAGraph, which leaves its pool and libtorch's random generators as they are in the middle
// of a recording when that fails. Generators are not told of graphs: drawing random numbers fails a recording, as it should.
class RecordedGraph final : public Graph {
 public:
  explicit RecordedGraph(c10::DeviceIndex device)
      : device_(device),
        stream_(streamFor(device)),
        before_(c10::cuda::getCurrentCUDAStream(device)),
        pool_(at::cuda::graph_pool_handle()) {
    const c10::cuda::CUDAGuard guard(device_);
    begun_ = totals(device_);
    // Whatever thread works for the recording does it on this stream: autograd's follow the stream of the forward pass.
    const cudaStream_t recorded = stream_.stream();
    caching::beginAllocateToPool(device_, pool_, [recorded](cudaStream_t stream) { return stream == recorded; });
    const cudaError_t error = cudaStreamBeginCapture(recorded, cudaStreamCaptureModeRelaxed);
    if (error != cudaSuccess) {
      caching::endAllocateToPool(device_, pool_);
      caching::releasePool(device_, pool_);
      C10_CUDA_CHECK(error);
    }
    // Relaxed: autograd's thread allocates, and libtorch asks events, while this one records.
    c10::cuda::setCurrentCUDAStream(stream_);
    recording_ = true;
  }

  ~RecordedGraph() override {
    const c10::cuda::CUDAGuard guard(device_);
    if (recording_) {
      cudaGraph_t graph = nullptr;
      (void)stop(&graph);
      if (graph != nullptr) (void)cudaGraphDestroy(graph);
    }
    if (executable_ != nullptr) {
      (void)cudaDeviceSynchronize();
      (void)cudaGraphExecDestroy(executable_);
      holdMemory(device_, -held_);
    }
    (void)cudaGetLastError();
    try {
      caching::releasePool(device_, pool_);
    } catch (...) {
      // The pool stays as it is; nobody allocates from it any more.
    }
  }

  void end() override {
    if (!recording_) fail("E_STATE", "this graph is not being recorded");
    const c10::cuda::CUDAGuard guard(device_);
    cudaGraph_t graph = nullptr;
    cudaError_t error = stop(&graph);
    if (error == cudaSuccess && graph != nullptr) {
      error = cudaGraphGetNodes(graph, nullptr, &nodes_);
      if (error == cudaSuccess) error = cudaGraphInstantiateWithFlags(&executable_, graph, 0);
    }
    if (graph != nullptr) (void)cudaGraphDestroy(graph);
    if (error != cudaSuccess || executable_ == nullptr) {
      executable_ = nullptr;
      (void)cudaGetLastError();
      fail("E_UNSUPPORTED", std::string("the work cannot be recorded as a graph: ") + cudaGetErrorString(error),
           "Something in it reads back to the host, or waits for the device.", {{"cudaError", static_cast<double>(error)}});
    }
    const Totals now = totals(device_);
    bytes_ = now.reserved - begun_.reserved;
    // What libtorch counts as free in the pool is not: every replay writes there.
    held_ = bytes_ - (now.allocated - begun_.allocated);
    holdMemory(device_, held_);
  }

  void replay() override {
    if (executable_ == nullptr) fail("E_STATE", "this graph is still being recorded");
    const c10::cuda::CUDAGuard guard(device_);
    C10_CUDA_CHECK(cudaGraphLaunch(executable_, c10::cuda::getCurrentCUDAStream(device_).stream()));
  }

  int64_t bytes() const override { return bytes_; }
  size_t nodes() const override { return nodes_; }

 private:
  // Leaves the thread as it was before recording began.
  cudaError_t stop(cudaGraph_t* graph) {
    recording_ = false;
    const cudaError_t error = cudaStreamEndCapture(stream_.stream(), graph);
    if (error != cudaSuccess) (void)cudaGetLastError();
    c10::cuda::setCurrentCUDAStream(before_);
    caching::endAllocateToPool(device_, pool_);
    return error;
  }

  c10::DeviceIndex device_;
  c10::cuda::CUDAStream stream_, before_;
  c10::cuda::MempoolId_t pool_;
  Totals begun_{};
  bool recording_ = false;
  cudaGraphExec_t executable_ = nullptr;
  int64_t bytes_ = 0, held_ = 0;
  size_t nodes_ = 0;
};

}  // namespace

std::unique_ptr<Graph> Graph::begin(int device) {
  (void)properties(device);  // throws for a device that is not there, and wakes it
  return std::make_unique<RecordedGraph>(static_cast<c10::DeviceIndex>(device));
}

}  // namespace tierra::cuda

#else

namespace tierra::cuda {

std::unique_ptr<Graph> Graph::begin(int) {
  fail("E_UNSUPPORTED", "graphs of launches need a build of the addon with CUDA",
       "Install a torch with CUDA and run `npx tierra setup` again.");
}

}  // namespace tierra::cuda

#endif  // TIERRA_CUDA
