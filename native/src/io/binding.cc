#include "io/binding.h"

#include <chrono>

#include "core/error.h"
#include "core/fields.h"
#include "core/js.h"
#include "io/checksum.h"
#include "io/faults.h"
#include "io/plainLoop.h"
#include "io/swap.h"
#include "memory/arena.h"

namespace tierra {
namespace {

io::BackendChoice backendNamed(const std::string& name) {
  if (name == "auto") return io::BackendChoice::automatic;
  if (name == "uring") return io::BackendChoice::uring;
  if (name == "threads") return io::BackendChoice::threads;
  fail("E_ARGUMENT", "the disk back end is 'auto', 'uring' or 'threads', not '" + name + "'");
}

io::SwapId swapOf(const js::Args& args) { return static_cast<io::SwapId>(args.integer(0, "swap")); }

napi_value swapOpen(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const js::Fields fields(env, args[0]);
  io::SwapOptions options{};
  const napi_value paths = fields.value("paths");
  const uint32_t count = js::arrayLength(env, paths, "paths");
  for (uint32_t i = 0; i < count; ++i) options.paths.push_back(js::readText(env, js::element(env, paths, i), "paths"));
  options.bytes = fields.count("bytes");
  options.backend = backendNamed(fields.text("backend"));
  options.direct = fields.flag("direct");
  options.checksum = fields.flag("checksum");
  options.runId = fields.text("runId");
  options.blockBytes = fields.count("blockBytes");
  options.readDepth = static_cast<unsigned>(fields.count("readDepth"));
  options.writeDepth = static_cast<unsigned>(fields.count("writeDepth"));
  return js::number(env, static_cast<double>(io::openSwap(options)));
}

napi_value swapInfo(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto swap = io::findSwap(swapOf(args));
  const auto& files = swap->files();
  napi_value made = js::object(env);
  js::set(env, made, "backend", js::text(env, swap->backend()));
  js::set(env, made, "direct", js::boolean(env, files.direct()));
  js::set(env, made, "checksum", js::boolean(env, swap->options().checksum));
  js::set(env, made, "bytes", js::number(env, static_cast<double>(files.bytes())));
  js::set(env, made, "alignment", js::number(env, static_cast<double>(files.alignment())));
  js::set(env, made, "stripeBytes", js::number(env, static_cast<double>(files.stripeBytes())));
  js::set(env, made, "registeredBuffers", js::number(env, static_cast<double>(swap->registeredBuffers())));
  js::set(env, made, "registeredFiles", js::boolean(env, swap->registeredFiles()));
  js::set(env, made, "reasons", js::texts(env, swap->reasons()));
  js::set(env, made, "leftovers", js::texts(env, files.leftovers()));
  return made;
}

napi_value laneStats(napi_env env, const io::LaneStats& stats) {
  napi_value made = js::object(env);
  js::set(env, made, "bytes", js::number(env, static_cast<double>(stats.bytes)));
  js::set(env, made, "requests", js::number(env, static_cast<double>(stats.requests)));
  js::set(env, made, "retries", js::number(env, static_cast<double>(stats.retries)));
  js::set(env, made, "shortTransfers", js::number(env, static_cast<double>(stats.shortTransfers)));
  return made;
}

napi_value swapStats(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const io::SwapStats stats = io::findSwap(swapOf(args))->stats();
  napi_value made = js::object(env);
  js::set(env, made, "read", laneStats(env, stats.read));
  js::set(env, made, "write", laneStats(env, stats.write));
  js::set(env, made, "overflows", js::number(env, static_cast<double>(stats.overflows)));
  return made;
}

napi_value swapClose(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  io::closeSwap(swapOf(args));
  return nullptr;
}

napi_value transfer(napi_env env, napi_callback_info info, bool write) {
  const js::Args args(env, info);
  const auto swap = io::findSwap(swapOf(args));
  const js::Fields fields(env, args[1]);
  const auto arena = memory::findArena(fields.count("arena"));
  if (arena->onGpu()) fail("E_ARGUMENT", "the disk cannot reach arena " + std::to_string(arena->id()) + " on the GPU");
  const memory::ArenaUse use(arena);
  io::Job job;
  job.offset = fields.count("swapOffset");
  job.bytes = fields.count("bytes");
  job.data = arena->at(fields.count("arenaOffset"), job.bytes);
  job.chunk = fields.count("chunk");
  job.step = fields.count("step");
  if (const auto failed = swap->transfer(write, std::move(job))) throw *failed;
  return nullptr;
}

napi_value swapRead(napi_env env, napi_callback_info info) { return transfer(env, info, false); }
napi_value swapWrite(napi_env env, napi_callback_info info) { return transfer(env, info, true); }

napi_value swapSync(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  io::Job job;
  job.sync = true;
  if (const auto failed = io::findSwap(swapOf(args))->transfer(true, std::move(job))) throw *failed;
  return nullptr;
}

napi_value swapExtentBytes(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const std::int64_t bytes = args.integer(0, "payloadBytes");
  if (bytes < 1) fail("E_ARGUMENT", "an extent holds at least 1 byte, got " + std::to_string(bytes));
  return js::number(env, static_cast<double>(io::extentBytes(static_cast<std::uint64_t>(bytes))));
}

napi_value checksumRate(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto arena = memory::findArena(static_cast<memory::ArenaId>(args.integer(0, "arena")));
  const char* data = arena->at(0, arena->bytes());
  std::vector<std::uint64_t> pieces;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t at = 0; at < arena->bytes(); at += io::checksumPieceBytes) {
    pieces.push_back(io::hashPiece(data + at, std::min(io::checksumPieceBytes, arena->bytes() - at)));
  }
  const volatile std::uint64_t kept = io::combine(pieces.data(), pieces.size(), arena->bytes());
  (void)kept;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return js::number(env, static_cast<double>(arena->bytes()) / seconds.count());
}

std::unique_ptr<io::PlainLoop>& plainLoop() {
  static auto& loop = *new std::unique_ptr<io::PlainLoop>;
  return loop;
}

napi_value plainLoopOpen(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  plainLoop() = io::makePlainLoop(args.text(0, "folder"), static_cast<std::uint64_t>(args.integer(1, "halfBytes")),
                                  static_cast<std::size_t>(args.integer(2, "blockBytes")),
                                  static_cast<unsigned>(args.integer(3, "depth")));
  return nullptr;
}

napi_value plainLoopRun(napi_env env, napi_callback_info) {
  if (!plainLoop()) fail("E_STATE", "the plain disk loop is not open");
  return js::number(env, plainLoop()->run());
}

napi_value plainLoopClose(napi_env, napi_callback_info) {
  plainLoop().reset();
  return nullptr;
}

napi_value setFault(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  faults::arm(js::isNullish(env, args[0]) ? std::string() : args.text(0, "plan"));
  return nullptr;
}

napi_value faultHits(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return js::number(env, static_cast<double>(faults::hits(args.text(0, "site"))));
}

napi_value faultSites(napi_env env, napi_callback_info) { return js::texts(env, faults::siteNames()); }

}  // namespace

void registerSwaps(napi_env env, napi_value exports) {
  js::expose<swapOpen>(env, exports, "swapOpen");
  js::expose<swapInfo>(env, exports, "swapInfo");
  js::expose<swapStats>(env, exports, "swapStats");
  js::expose<swapClose>(env, exports, "swapClose");
  js::expose<swapRead>(env, exports, "swapRead");
  js::expose<swapWrite>(env, exports, "swapWrite");
  js::expose<swapSync>(env, exports, "swapSync");
  js::expose<swapExtentBytes>(env, exports, "swapExtentBytes");
  js::expose<checksumRate>(env, exports, "checksumRate");
  js::expose<plainLoopOpen>(env, exports, "plainLoopOpen");
  js::expose<plainLoopRun>(env, exports, "plainLoopRun");
  js::expose<plainLoopClose>(env, exports, "plainLoopClose");
  js::expose<setFault>(env, exports, "setFault");
  js::expose<faultHits>(env, exports, "faultHits");
  js::expose<faultSites>(env, exports, "faultSites");
}

}  // namespace tierra
