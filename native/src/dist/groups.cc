// Groups and works by id, as JavaScript sees them.
#include <c10/util/Logging.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include "core/error.h"
#include "core/fields.h"
#include "core/js.h"
#include "core/table.h"
#include "dist/binding.h"
#include "dist/group.h"
#include "dist/stores.h"

namespace tierra::dist {

namespace {

// Never destroyed: a process that ends in the middle of a collective must not wait for it in a static destructor.
std::mutex tableMutex;
auto& groups = *new std::map<double, std::shared_ptr<Group>>;
auto& works = *new std::map<double, WorkPtr>;
double nextGroup = 1;
double nextWork = 1;

std::shared_ptr<Group> groupOf(const js::Args& args) { return findGroup(args.number(0, "group")); }

at::Tensor tensorAt(const js::Args& args, size_t index, const char* name) { return tensorOf(args.number(index, name)); }

int positionAt(const js::Args& args, size_t index, const char* name) { return static_cast<int>(args.integer(index, name)); }

napi_value keep(napi_env env, WorkPtr work) {
  const std::lock_guard lock(tableMutex);
  works.emplace(nextWork, std::move(work));
  return js::number(env, nextWork++);
}

napi_value groupCreate(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const js::Fields fields(env, args[0]);
  GroupOptions options;
  options.name = fields.text("name");
  options.backend = fields.text("backend");
  const uint32_t count = js::arrayLength(env, fields.value("ranks"), "ranks");
  for (uint32_t i = 0; i < count; ++i) {
    options.ranks.push_back(static_cast<int64_t>(js::readNumber(env, js::element(env, fields.value("ranks"), i), "ranks")));
  }
  options.rank = static_cast<int>(fields.count("rank"));
  if (static_cast<uint32_t>(options.rank) >= count) fail("E_ARGUMENT", "the group's rank is not one of its positions");
  options.timeout = Timeout(static_cast<int64_t>(fields.number("timeoutMs")));
  options.deterministic = fields.flag("deterministic");
  options.listenOn = fields.text("listenOn");
  if (fields.has("store")) {
    options.store = c10::make_intrusive<c10d::PrefixStore>(fields.text("prefix"), findStore(fields.number("store")));
  } else if (count > 1) {
    fail("E_ARGUMENT", "a group of several ranks needs a store to meet");
  }
  auto group = std::make_shared<Group>(std::move(options));
  const std::lock_guard lock(tableMutex);
  groups.emplace(nextGroup, std::move(group));
  return js::number(env, nextGroup++);
}

napi_value groupDestroy(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  std::shared_ptr<Group> gone = groupOf(args);
  const std::lock_guard lock(tableMutex);
  groups.erase(args.number(0, "group"));
  return nullptr;
}

napi_value groupAbort(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  groupOf(args)->abort();
  return nullptr;
}

napi_value allReduce(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const std::string name = args.text(2, "reduction");
  if (name != "sum" && name != "max" && name != "min") fail("E_ARGUMENT", "there is no reduction \"" + name + "\"");
  const Reduction reduction = name == "sum" ? Reduction::sum : name == "max" ? Reduction::max : Reduction::min;
  return keep(env, groupOf(args)->allReduce(tensorAt(args, 1, "tensor"), reduction));
}

napi_value allGather(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return keep(env, groupOf(args)->allGather(tensorAt(args, 1, "into"), tensorAt(args, 2, "from")));
}

napi_value reduceScatter(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return keep(env, groupOf(args)->reduceScatter(tensorAt(args, 1, "into"), tensorAt(args, 2, "from")));
}

napi_value broadcast(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return keep(env, groupOf(args)->broadcast(tensorAt(args, 1, "tensor"), positionAt(args, 2, "root")));
}

napi_value reduce(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return keep(env, groupOf(args)->reduce(tensorAt(args, 1, "tensor"), positionAt(args, 2, "root")));
}

napi_value allToAll(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return keep(env, groupOf(args)->allToAll(tensorAt(args, 1, "into"), tensorAt(args, 2, "from"), args.integers(3, "intoSplits"),
                                           args.integers(4, "fromSplits")));
}

napi_value send(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return keep(env, groupOf(args)->send(tensorAt(args, 1, "tensor"), positionAt(args, 2, "to"), positionAt(args, 3, "tag")));
}

napi_value receive(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return keep(env, groupOf(args)->receive(tensorAt(args, 1, "tensor"), positionAt(args, 2, "from"), positionAt(args, 3, "tag")));
}

napi_value barrier(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return keep(env, groupOf(args)->barrier());
}

napi_value workWait(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  WorkPtr work;
  {
    const std::lock_guard lock(tableMutex);
    const auto found = works.find(args.number(0, "work"));
    if (found == works.end()) fail("E_STATE", "this collective was already waited for");
    work = std::move(found->second);
    works.erase(found);
  }
  work->wait();
  return nullptr;
}

napi_value groupCounters(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const Counters& counters = groupOf(args)->counters();
  napi_value made = js::object(env);
  for (size_t i = 0; i < counters.size(); ++i) {
    napi_value one = js::object(env);
    js::set(env, one, "calls", js::number(env, static_cast<double>(counters[i].calls.load())));
    js::set(env, one, "elementsReceived", js::number(env, static_cast<double>(counters[i].elements.load())));
    js::set(env, one, "bytesReceived", js::number(env, static_cast<double>(counters[i].bytes.load())));
    js::set(env, one, "seconds", js::number(env, static_cast<double>(counters[i].blockedNs.load()) / 1e9));
    js::set(env, made, kindNames[i], one);
  }
  return made;
}

napi_value groupResetCounters(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  for (Counter& counter : groupOf(args)->counters()) {
    counter.calls = 0;
    counter.elements = 0;
    counter.bytes = 0;
    counter.blockedNs = 0;
  }
  return nullptr;
}

napi_value liveGroups(napi_env env, napi_callback_info) {
  const std::lock_guard lock(tableMutex);
  return js::number(env, static_cast<double>(groups.size()));
}

// Whoever ends first must not leave the others, or itself, waiting.
void takeDown(void*) {
  std::map<double, std::shared_ptr<Group>> gone;
  std::map<double, WorkPtr> given;
  {
    const std::lock_guard lock(tableMutex);
    gone.swap(groups);
    given.swap(works);
  }
  if (!given.empty()) {
    for (const auto& [id, group] : gone) group->abort();
  }
  given.clear();
  gone.clear();
  closeAllStores();
}

}  // namespace

std::shared_ptr<Group> findGroup(double id) {
  const std::lock_guard lock(tableMutex);
  const auto found = groups.find(id);
  if (found == groups.end()) fail("E_STATE", "the group was already disposed");
  return found->second;
}

void registerDist(napi_env env, napi_value exports) {
  static std::atomic<bool> taken{false};
  if (!taken.exchange(true)) check(env, napi_add_env_cleanup_hook(env, takeDown, nullptr));
  // c10d writes every failed attempt to stderr with the frames of its own stack; what matters is in our errors.
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
  registerStores(env, exports);
  js::expose<groupCreate>(env, exports, "groupCreate");
  js::expose<groupDestroy>(env, exports, "groupDestroy");
  js::expose<groupAbort>(env, exports, "groupAbort");
  js::expose<allReduce>(env, exports, "groupAllReduce");
  js::expose<allGather>(env, exports, "groupAllGather");
  js::expose<reduceScatter>(env, exports, "groupReduceScatter");
  js::expose<broadcast>(env, exports, "groupBroadcast");
  js::expose<reduce>(env, exports, "groupReduce");
  js::expose<allToAll>(env, exports, "groupAllToAll");
  js::expose<send>(env, exports, "groupSend");
  js::expose<receive>(env, exports, "groupReceive");
  js::expose<barrier>(env, exports, "groupBarrier");
  js::expose<workWait>(env, exports, "workWait");
  js::expose<groupCounters>(env, exports, "groupCounters");
  js::expose<groupResetCounters>(env, exports, "groupResetCounters");
  js::expose<liveGroups>(env, exports, "liveGroups");
}

}  // namespace tierra::dist
