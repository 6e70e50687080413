#include "dist/stores.h"

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <map>
#include <mutex>

#include "core/error.h"
#include "core/fields.h"
#include "core/js.h"
#include "dist/backend.h"

namespace tierra::dist {

namespace {

std::mutex tableMutex;
auto& table = *new std::map<double, c10::intrusive_ptr<c10d::TCPStore>>;
double nextId = 1;

c10::intrusive_ptr<c10d::TCPStore> storeOf(const js::Args& args) {
  const double id = args.number(0, "store");
  const std::lock_guard lock(tableMutex);
  const auto found = table.find(id);
  if (found == table.end()) fail("E_STATE", "the store was already closed");
  return found->second;
}

// libtorch's own words, with what was asked for in front.
template <typename Body>
auto asking(const std::string& what, Body&& body) {
  try {
    return body();
  } catch (const NativeError&) {
    throw;
  } catch (...) {
    const NativeError error = describeCurrentException();
    fail("E_COLLECTIVE", what + ": " + error.message,
         "The process that serves the store has ended or cannot be reached, or a rank never came: look at the first rank that "
         "stopped.",
         error.details);
  }
}

Timeout timeoutOf(double milliseconds) { return Timeout(static_cast<int64_t>(milliseconds)); }

std::vector<std::string> textsOf(const js::Args& args, size_t index, const char* name) {
  const uint32_t length = js::arrayLength(args.env(), args[index], name);
  std::vector<std::string> out;
  for (uint32_t i = 0; i < length; ++i) {
    out.push_back(js::readText(args.env(), js::element(args.env(), args[index], i), name));
  }
  return out;
}

napi_value storeOpen(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const js::Fields fields(env, args[0]);
  const std::string host = fields.text("host");
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(fields.count("port"));
  options.isServer = fields.flag("server");
  options.waitWorkers = false;
  // A socket that already listens there, so that nobody can take the port first.
  if (fields.has("listenFd")) options.masterListenFd = static_cast<int>(fields.count("listenFd"));
  options.timeout = timeoutOf(fields.number("timeoutMs"));
  const std::string where = host + ":" + std::to_string(options.port);
  auto store = asking((options.isServer ? "serving a store on " : "joining the store at ") + where,
                      [&] { return c10::make_intrusive<c10d::TCPStore>(host, options); });
  const std::lock_guard lock(tableMutex);
  table.emplace(nextId, std::move(store));
  return js::number(env, nextId++);
}

napi_value storePort(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return js::number(env, storeOf(args)->getPort());
}

napi_value storeSet(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const std::string key = args.text(1, "key");
  const auto bytes = args.bytes(2, "value");
  const auto store = storeOf(args);
  asking("setting " + key + " in the store", [&] {
    store->set(key, std::vector<uint8_t>(bytes.begin(), bytes.end()));
    return true;
  });
  return nullptr;
}

napi_value bytesOf(napi_env env, const std::vector<uint8_t>& value) {
  void* data = nullptr;
  napi_value buffer = nullptr, made = nullptr;
  check(env, napi_create_arraybuffer(env, value.size(), &data, &buffer));
  std::copy(value.begin(), value.end(), static_cast<uint8_t*>(data));
  check(env, napi_create_typedarray(env, napi_uint8_array, value.size(), buffer, 0, &made));
  return made;
}

napi_value storeGet(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const std::string key = args.text(1, "key");
  const double timeoutMs = args.number(2, "timeoutMs");
  const auto store = storeOf(args);
  return bytesOf(env, asking("waiting for " + key + " in the store", [&] {
                   store->wait({key}, timeoutOf(timeoutMs));
                   return store->get(key);
                 }));
}

napi_value storeAdd(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const std::string key = args.text(1, "key");
  const int64_t amount = args.integer(2, "amount");
  const auto store = storeOf(args);
  return js::number(
      env, static_cast<double>(asking("adding to " + key + " in the store", [&] { return store->add(key, amount); })));
}

napi_value storeWait(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto keys = textsOf(args, 1, "keys");
  const double timeoutMs = args.number(2, "timeoutMs");
  const auto store = storeOf(args);
  if (keys.empty()) return nullptr;
  asking("waiting for " + keys[0] + (keys.size() > 1 ? " and more" : "") + " in the store", [&] {
    store->wait(keys, timeoutOf(timeoutMs));
    return true;
  });
  return nullptr;
}

napi_value storeHas(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const std::string key = args.text(1, "key");
  const auto store = storeOf(args);
  return js::boolean(env, asking("looking for " + key + " in the store", [&] { return store->check({key}); }));
}

napi_value storeDelete(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const std::string key = args.text(1, "key");
  const auto store = storeOf(args);
  return js::boolean(env, asking("deleting " + key + " from the store", [&] { return store->deleteKey(key); }));
}

napi_value storeClose(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto store = storeOf(args);
  const std::lock_guard lock(tableMutex);
  table.erase(args.number(0, "store"));
  return nullptr;
}

}  // namespace

c10::intrusive_ptr<c10d::Store> findStore(double id) {
  const std::lock_guard lock(tableMutex);
  const auto found = table.find(id);
  if (found == table.end()) fail("E_STATE", "the store was already closed");
  return found->second;
}

void closeAllStores() {
  std::map<double, c10::intrusive_ptr<c10d::TCPStore>> gone;
  const std::lock_guard lock(tableMutex);
  gone.swap(table);
}

void registerStores(napi_env env, napi_value exports) {
  js::expose<storeOpen>(env, exports, "storeOpen");
  js::expose<storePort>(env, exports, "storePort");
  js::expose<storeSet>(env, exports, "storeSet");
  js::expose<storeGet>(env, exports, "storeGet");
  js::expose<storeAdd>(env, exports, "storeAdd");
  js::expose<storeWait>(env, exports, "storeWait");
  js::expose<storeHas>(env, exports, "storeHas");
  js::expose<storeDelete>(env, exports, "storeDelete");
  js::expose<storeClose>(env, exports, "storeClose");
}

}  // namespace tierra::dist
