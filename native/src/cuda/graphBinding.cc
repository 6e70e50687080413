// Graphs by number, as JavaScript sees them.
#include "cuda/graphBinding.h"

#include <memory>
#include <unordered_map>

#include "core/device.h"
#include "core/error.h"
#include "core/js.h"
#include "cuda/graph.h"

namespace tierra {

namespace {

// Those of one JavaScript thread.
struct Graphs {
  std::unordered_map<int64_t, std::unique_ptr<cuda::Graph>> byId;
  int64_t next = 1;

  cuda::Graph& at(int64_t id) {
    const auto found = byId.find(id);
    if (found == byId.end()) fail("E_STATE", "this graph was destroyed, or never begun");
    return *found->second;
  }
};

thread_local Graphs graphs;

int64_t idOf(const js::Args& args) { return args.integer(0, "graph"); }

// (device)
napi_value graphBegin(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const c10::Device device = deviceNamed(args.text(0, "device"));
  if (!device.is_cuda()) fail("E_UNSUPPORTED", "graphs of launches are for CUDA devices, not for " + device.str());
  graphs.byId.emplace(graphs.next, cuda::Graph::begin(device.index()));
  return js::number(env, static_cast<double>(graphs.next++));
}

// (graph)
napi_value graphEnd(napi_env env, napi_callback_info info) {
  cuda::Graph& graph = graphs.at(idOf(js::Args(env, info)));
  graph.end();
  napi_value made = js::object(env);
  js::set(env, made, "bytes", js::number(env, static_cast<double>(graph.bytes())));
  js::set(env, made, "nodes", js::number(env, static_cast<double>(graph.nodes())));
  return made;
}

// (graph)
napi_value graphReplay(napi_env env, napi_callback_info info) {
  graphs.at(idOf(js::Args(env, info))).replay();
  return nullptr;
}

// (graph)
napi_value graphDestroy(napi_env env, napi_callback_info info) {
  const int64_t id = idOf(js::Args(env, info));
  (void)graphs.at(id);
  graphs.byId.erase(id);
  return nullptr;
}

napi_value liveGraphs(napi_env env, napi_callback_info) {
  return js::number(env, static_cast<double>(graphs.byId.size()));
}

}  // namespace

void registerGraphs(napi_env env, napi_value exports) {
  // Graphs must not outlive the environment: the driver is taken down after it.
  check(env, napi_add_env_cleanup_hook(env, [](void*) { graphs.byId.clear(); }, nullptr));
  js::expose<graphBegin>(env, exports, "graphBegin");
  js::expose<graphEnd>(env, exports, "graphEnd");
  js::expose<graphReplay>(env, exports, "graphReplay");
  js::expose<graphDestroy>(env, exports, "graphDestroy");
  js::expose<liveGraphs>(env, exports, "liveGraphs");
}

}  // namespace tierra
