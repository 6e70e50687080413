#include "memory/binding.h"

#include "core/error.h"
#include "core/fields.h"
#include "core/js.h"
#include "core/table.h"
#include "memory/arena.h"
#include "memory/tensors.h"

namespace tierra {
namespace {

using memory::Arena;
using memory::ArenaKind;

std::uint64_t countOf(const js::Args& args, std::size_t index, const char* name) {
  const std::int64_t value = args.integer(index, name);
  if (value < 0) fail("E_ARGUMENT", std::string(name) + " must not be negative, got " + std::to_string(value));
  return static_cast<std::uint64_t>(value);
}

std::shared_ptr<Arena> arenaOf(const js::Args& args, std::size_t index) {
  return memory::findArena(countOf(args, index, "arena"));
}

napi_value arenaCreate(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const std::string kind = args.text(0, "kind");
  if (kind != "host" && kind != "device") fail("E_ARGUMENT", "an arena is 'host' or 'device', not '" + kind + "'");
  const auto arena = memory::createArena({kind == "host" ? ArenaKind::host : ArenaKind::device, countOf(args, 1, "bytes"),
                                          static_cast<int>(countOf(args, 2, "device")), args.flag(3, "hugePages")});
  return js::number(env, static_cast<double>(arena->id()));
}

napi_value arenaDestroy(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  memory::destroyArena(countOf(args, 0, "arena"));
  return nullptr;
}

napi_value arenaInfo(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto arena = arenaOf(args, 0);
  napi_value made = js::object(env);
  js::set(env, made, "kind", js::text(env, arena->options().kind == ArenaKind::host ? "host" : "device"));
  js::set(env, made, "bytes", js::number(env, static_cast<double>(arena->bytes())));
  js::set(env, made, "touchedBytes", js::number(env, static_cast<double>(arena->touchedBytes())));
  js::set(env, made, "pinned", js::boolean(env, arena->pinned()));
  js::set(env, made, "hugePages", js::boolean(env, arena->options().hugePages));
  js::set(env, made, "users", js::number(env, arena->users()));
  js::set(env, made, "notes", js::texts(env, arena->notes()));
  return made;
}

napi_value arenaTensor(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  at::Tensor view = memory::viewOf(arenaOf(args, 0), countOf(args, 1, "offset"), args.integers(2, "shape"),
                                   static_cast<at::ScalarType>(args.integer(3, "dtype")));
  return js::number(env, adopt(std::move(view)));
}

napi_value bindStorage(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  memory::bindStorage(tensorOf(args.number(0, "tensor")), arenaOf(args, 1), countOf(args, 2, "offset"),
                      countOf(args, 3, "bytes"));
  return nullptr;
}

napi_value unbindStorage(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  memory::unbindStorage(tensorOf(args.number(0, "tensor")));
  return nullptr;
}

napi_value storageTake(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto arena = memory::takeStorage(tensorOf(args.number(0, "tensor")));
  return js::number(env, static_cast<double>(arena->id()));
}

napi_value storageMake(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto arena = memory::makeStorage(tensorOf(args.number(0, "tensor")), countOf(args, 1, "bytes"));
  return js::number(env, static_cast<double>(arena->id()));
}

napi_value storageGive(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto arena = arenaOf(args, 1);
  memory::giveStorage(tensorOf(args.number(0, "tensor")), *arena);
  memory::dropArena(arena->id());
  return nullptr;
}

napi_value storageLetGo(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  memory::forgetArena(countOf(args, 0, "arena"));
  return nullptr;
}

napi_value arenaRead(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto into = args.bytes(2, "into");
  arenaOf(args, 0)->read(countOf(args, 1, "offset"), into.data(), into.size());
  return nullptr;
}

napi_value arenaWrite(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto from = args.bytes(2, "from");
  arenaOf(args, 0)->write(countOf(args, 1, "offset"), from.data(), from.size());
  return nullptr;
}

napi_value arenaFill(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  arenaOf(args, 0)->fill(countOf(args, 1, "offset"), countOf(args, 2, "bytes"),
                         static_cast<unsigned char>(countOf(args, 3, "value")));
  return nullptr;
}

napi_value allocationCount(napi_env env, napi_callback_info) {
  return js::number(env, static_cast<double>(memory::allocationCount()));
}

napi_value liveArenas(napi_env env, napi_callback_info) {
  return js::number(env, static_cast<double>(memory::liveArenas()));
}

}  // namespace

void registerArenas(napi_env env, napi_value exports) {
  js::expose<arenaCreate>(env, exports, "arenaCreate");
  js::expose<arenaDestroy>(env, exports, "arenaDestroy");
  js::expose<arenaInfo>(env, exports, "arenaInfo");
  js::expose<arenaTensor>(env, exports, "arenaTensor");
  js::expose<bindStorage>(env, exports, "bindStorage");
  js::expose<unbindStorage>(env, exports, "unbindStorage");
  js::expose<storageTake>(env, exports, "storageTake");
  js::expose<storageMake>(env, exports, "storageMake");
  js::expose<storageGive>(env, exports, "storageGive");
  js::expose<storageLetGo>(env, exports, "storageLetGo");
  js::expose<arenaRead>(env, exports, "arenaRead");
  js::expose<arenaWrite>(env, exports, "arenaWrite");
  js::expose<arenaFill>(env, exports, "arenaFill");
  js::expose<allocationCount>(env, exports, "allocationCount");
  js::expose<liveArenas>(env, exports, "liveArenas");
}

}  // namespace tierra
