#include "core/error.h"
#include <ATen/core/Tensor.h>

#include "core/fields.h"
#include "core/table.h"
#include "executor/binding.h"

namespace tierra::executor {
namespace {

using js::Fields;
using memory::Arena;
using optim::DType;

std::shared_ptr<Arena> arenaOf(const Fields& fields, const char* name) { return memory::findArena(fields.count(name)); }

std::shared_ptr<Arena> hostArena(const Fields& fields, const char* name, const char* why) {
  auto arena = arenaOf(fields, name);
  if (arena->onGpu()) fail("E_ARGUMENT", std::string(why) + " cannot reach arena " + std::to_string(arena->id()) + " on the GPU");
  return arena;
}

DiskWork readDisk(const Fields& fields, Ticket& ticket, bool write) {
  const auto swap = io::findSwap(fields.count("swap"));
  const auto arena = hostArena(fields, "arena", "the disk");
  ticket.bytes = fields.count("bytes");
  char* data = arena->at(fields.count("arenaOffset"), ticket.bytes);
  const std::uint64_t offset = fields.count("swapOffset");
  swap->check(offset, data, ticket.bytes);
  return {SwapUse(swap.get()), memory::ArenaUse(arena), write, false, offset, data};
}

CopyWork readCopy(const Fields& fields, Ticket& ticket) {
  const auto source = arenaOf(fields, "source");
  const auto target = arenaOf(fields, "target");
  ticket.bytes = fields.count("bytes");
  const char* from = source->at(fields.count("sourceOffset"), ticket.bytes);
  char* to = target->at(fields.count("targetOffset"), ticket.bytes);
  return {memory::ArenaUse(source), memory::ArenaUse(target), from, to, nullptr};
}

/// From an arena, or from a contiguous tensor in RAM, to a host arena.
CopyWork readStage(const Fields& fields, Ticket& ticket) {
  CopyWork work;
  ticket.bytes = fields.count("bytes");
  const std::uint64_t offset = fields.count("sourceOffset");
  if (fields.has("tensor")) {
    auto kept = std::make_shared<at::Tensor>(tensorOf(fields.number("tensor")).detach());
    requireBytes(*kept, "a checkpoint");
    if (!kept->device().is_cpu() || !kept->is_contiguous() || offset > kept->nbytes() || ticket.bytes > kept->nbytes() - offset) {
      fail("E_ARGUMENT", "bytes " + std::to_string(offset) + " to " + std::to_string(offset + ticket.bytes) +
                             " are not those of a contiguous tensor in RAM of " + std::to_string(kept->nbytes()) + " bytes");
    }
    work.from = static_cast<const char*>(kept->const_data_ptr()) + offset;
    work.keptAlive = std::move(kept);
  } else {
    const auto source = hostArena(fields, "source", "the checkpoint's copy");
    work.from = source->at(offset, ticket.bytes);
    work.source = memory::ArenaUse(source);
  }
  const auto target = hostArena(fields, "target", "the checkpoint's copy");
  work.to = target->at(fields.count("targetOffset"), ticket.bytes);
  work.target = memory::ArenaUse(target);
  return work;
}

SaveWork readSave(napi_env env, const Fields& fields, Ticket& ticket) {
  SaveWork work;
  const auto arena = hostArena(fields, "arena", "a checkpoint");
  const napi_value pieces = fields.value("pieces");
  const uint32_t count = js::arrayLength(env, pieces, "pieces");
  for (uint32_t i = 0; i < count; ++i) {
    const Fields piece(env, js::element(env, pieces, i));
    const std::uint64_t bytes = piece.count("bytes");
    work.pieces.push_back({io::findAppendFile(piece.count("file")), arena->at(piece.count("offset"), bytes), bytes});
    ticket.bytes += bytes;
  }
  const napi_value finish = fields.value("finish");
  const uint32_t files = js::arrayLength(env, finish, "finish");
  for (uint32_t i = 0; i < files; ++i) {
    work.finish.push_back(io::findAppendFile(static_cast<io::AppendFileId>(js::readNumber(env, js::element(env, finish, i), "file"))));
  }
  work.arena = memory::ArenaUse(arena);
  return work;
}

optim::Rule ruleNamed(const std::string& name) {
  if (name == "adamw") return optim::Rule::adamw;
  if (name == "sgd") return optim::Rule::sgd;
  if (name == "lion") return optim::Rule::lion;
  fail("E_ARGUMENT", "no update rule is called " + name, "The rules are adamw, sgd and lion.");
}

DType dtypeIn(const Fields& fields, const char* what) {
  const auto type = static_cast<DType>(static_cast<int>(fields.count("dtype")));
  if (!optim::isKnown(type)) fail("E_ARGUMENT", std::string("the ") + what + " has no floating-point element type");
  return type;
}

optim::UpdateGroup readGroup(const Fields& fields) {
  return {fields.number("lr"),
          fields.number("beta1"),
          fields.number("beta2"),
          fields.number("eps"),
          fields.number("weightDecay"),
          fields.number("biasCorrection1"),
          fields.number("biasCorrection2"),
          fields.number("momentum"),
          fields.flag("nesterov")};
}

/// Segments ascend, do not overlap and lie inside the chunk: the kernel writes where they say.
void readSegments(napi_env env, napi_value list, std::uint64_t elements, UpdateWork& work) {
  const uint32_t count = js::arrayLength(env, list, "segments");
  std::uint64_t at = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const Fields fields(env, js::element(env, list, i));
    const Segment segment{fields.count("begin"), fields.count("count"), fields.count("group"),
                          fields.count("firstScale")};
    if (segment.begin < at || segment.begin > elements || segment.count > elements - segment.begin ||
        segment.group >= work.groups.size()) {
      fail("E_ARGUMENT", "segment " + std::to_string(i) + " (" + std::to_string(segment.count) + " elements from " +
                             std::to_string(segment.begin) + ", group " + std::to_string(segment.group) +
                             ") is not after the one before, inside " + std::to_string(elements) +
                             " elements and of a known group");
    }
    at = segment.begin + segment.count;
    work.segments.push_back(segment);
  }
}

/// Bytes of `count` elements at a place, kept in use by the ticket.
char* elementsAt(const Fields& place, std::vector<memory::ArenaUse>& arenas, std::uint64_t count,
                 std::size_t elementBytes) {
  const auto arena = hostArena(place, "arena", "the host optimizer");
  const std::uint64_t offset = place.count("offset");
  if (offset % elementBytes != 0 || count > arena->bytes() / elementBytes) {
    fail("E_ARGUMENT", std::to_string(count) + " elements of " + std::to_string(elementBytes) + " bytes do not fit at offset " +
                           std::to_string(offset) + " of an arena of " + std::to_string(arena->bytes()) + " bytes");
  }
  char* data = arena->at(offset, count * elementBytes);
  arenas.emplace_back(arena);
  return data;
}

/// The gradients of all uses, of one element type; the first is returned.
const char* readGradients(napi_env env, const Fields& fields, std::uint64_t count, UpdateWork& work, DType& type) {
  const napi_value gradients = fields.value("gradients");
  const uint32_t uses = js::arrayLength(env, gradients, "gradients");
  if (uses == 0) fail("E_ARGUMENT", "an update needs at least one gradient");
  const char* first = nullptr;
  for (uint32_t i = 0; i < uses; ++i) {
    const Fields gradient(env, js::element(env, gradients, i));
    const DType own = dtypeIn(gradient, "gradient");
    if (i > 0 && own != type) fail("E_ARGUMENT", "all gradients of an update have one element type");
    type = own;
    const char* data = elementsAt(gradient, work.arenas, count, optim::elementBytes(type));
    if (i == 0) first = data;
    else work.moreGradients.push_back(data);
  }
  return first;
}

/// Where the new state goes: to `stateOut`, or in place.
char* readStateOut(const Fields& fields, UpdateWork& work, char* from, std::uint64_t count, std::size_t element) {
  if (!fields.has("stateOut")) return from;
  char* to = elementsAt(fields.object("stateOut"), work.arenas, count, element);
  const std::uint64_t bytes = count * element;
  if (to != from && to < from + bytes && from < to + bytes) fail("E_ARGUMENT", "stateOut overlaps state");
  return to;
}

void readExactStates(napi_env env, const Fields& fields, std::uint64_t count, UpdateWork& work, Ticket& ticket) {
  bool usesM = false;
  for (const auto& group : work.groups) usesM = usesM || optim::usesFirstMoment(work.rule, group);
  const bool usesV = optim::usesSecondMoment(work.rule);
  optim::UpdateBuffers buffers{};
  buffers.count = count;
  buffers.gradient = readGradients(env, fields, count, work, buffers.gradientType);
  const Fields state = fields.object("state");
  buffers.stateType = dtypeIn(state, "state");
  const std::size_t element = optim::elementBytes(buffers.stateType);
  const std::uint64_t plane = count * element;
  const std::uint64_t planes = 1u + usesM + usesV;
  char* from = elementsAt(state, work.arenas, count * planes, element);
  char* to = readStateOut(fields, work, from, count * planes, element);
  buffers.master = from;
  buffers.masterOut = to;
  if (usesM) {
    buffers.m = from + plane;
    buffers.mOut = to + plane;
  }
  if (usesV) {
    buffers.v = from + (planes - 1) * plane;
    buffers.vOut = to + (planes - 1) * plane;
  }
  buffers.parameterType = buffers.stateType;
  if (fields.has("parameterOut")) {
    const Fields parameter = fields.object("parameterOut");
    buffers.parameterType = dtypeIn(parameter, "parameter");
    buffers.parameterOut = elementsAt(parameter, work.arenas, count, optim::elementBytes(buffers.parameterType));
  }
  if (work.preview && buffers.parameterOut == nullptr) fail("E_ARGUMENT", "a preview makes parameters: parameterOut is missing");
  const std::uint64_t passes = work.preview ? 1 : 2;
  ticket.bytes = count * ((1 + work.moreGradients.size()) * optim::elementBytes(buffers.gradientType) + passes * planes * element +
                          (buffers.parameterOut ? optim::elementBytes(buffers.parameterType) : 0));
  work.buffers = buffers;
}

void readCompressedStates(napi_env env, const Fields& fields, std::uint64_t count, UpdateWork& work, Ticket& ticket) {
  if (work.rule != optim::Rule::adamw) fail("E_ARGUMENT", "compressed states are adamw's");
  if (work.preview) fail("E_ARGUMENT", "compressed states have no previews");
  optim::CompressedBuffers buffers{};
  buffers.count = count;
  buffers.gradient = readGradients(env, fields, count, work, buffers.gradientType);
  const Fields state = fields.object("state");
  buffers.weightType = dtypeIn(state, "state's weight");
  const Fields planes = fields.object("planes");
  const std::uint64_t bytes = planes.count("bytes");
  const std::uint64_t scales = planes.count("scales");
  for (const Segment& segment : work.segments) {
    const std::uint64_t own = optim::momentBlocks(segment.count);
    if (segment.firstScale > scales || own > scales - segment.firstScale) {
      fail("E_ARGUMENT", "a segment's scales " + std::to_string(segment.firstScale) + " to " +
                             std::to_string(segment.firstScale + own) + " are not among " + std::to_string(scales));
    }
  }
  char* from = elementsAt(state, work.arenas, bytes, 1);
  char* to = readStateOut(fields, work, from, bytes, 1);
  const auto plane = [&](const char* name, std::uint64_t entries, std::size_t entryBytes) {
    const std::uint64_t offset = planes.count(name);
    if (offset % entryBytes != 0 || offset > bytes || entries > (bytes - offset) / entryBytes ||
        reinterpret_cast<std::uintptr_t>(from) % entryBytes != 0 || reinterpret_cast<std::uintptr_t>(to) % entryBytes != 0) {
      fail("E_ARGUMENT", std::string(name) + " (" + std::to_string(entries) + " entries at " + std::to_string(offset) +
                             ") does not fit into " + std::to_string(bytes) + " bytes of state");
    }
    return offset;
  };
  const std::uint64_t weight = plane("weight", count, optim::elementBytes(buffers.weightType)),
                      m = plane("m", count, 1), root = plane("root", count, 1),
                      mScales = plane("mScales", scales, sizeof(float)),
                      rootScales = plane("rootScales", scales, sizeof(float));
  const bool split = buffers.weightType == DType::bfloat16;
  const std::uint64_t low = split ? plane("low", count, sizeof(std::uint16_t)) : 0;
  const auto stateAt = [&](char* base) -> optim::CompressedState {
    return {base + weight,
            split ? reinterpret_cast<std::uint16_t*>(base + low) : nullptr,
            reinterpret_cast<std::uint8_t*>(base + m),
            reinterpret_cast<std::uint8_t*>(base + root),
            reinterpret_cast<float*>(base + mScales),
            reinterpret_cast<float*>(base + rootScales)};
  };
  buffers.from = stateAt(from);
  buffers.to = stateAt(to);
  const Fields parameter = fields.object("parameterOut");
  if (dtypeIn(parameter, "parameter") != buffers.weightType) {
    fail("E_ARGUMENT", "weights of compressed states have the parameter's element type");
  }
  const std::size_t element = optim::elementBytes(buffers.weightType);
  buffers.weightOut = elementsAt(parameter, work.arenas, count, element);
  ticket.bytes = count * ((1 + work.moreGradients.size()) * optim::elementBytes(buffers.gradientType) + element) + 2 * bytes;
  work.buffers = buffers;
}

UpdateWork readUpdate(napi_env env, const Fields& fields, Ticket& ticket) {
  UpdateWork work{};
  work.rule = ruleNamed(fields.text("rule"));
  work.scaleCell = static_cast<int>(fields.countOrNone("scaleCell"));
  work.preview = fields.has("preview") && fields.flag("preview");
  const std::uint64_t count = fields.count("count");
  const napi_value groups = fields.value("groups");
  const uint32_t groupCount = js::arrayLength(env, groups, "groups");
  for (uint32_t i = 0; i < groupCount; ++i) work.groups.push_back(readGroup(Fields(env, js::element(env, groups, i))));
  readSegments(env, fields.value("segments"), count, work);
  if (fields.has("planes")) readCompressedStates(env, fields, count, work, ticket);
  else readExactStates(env, fields, count, work, ticket);
  return work;
}

AccumulateWork readAccumulate(const Fields& fields, Ticket& ticket) {
  AccumulateWork work{};
  work.count = fields.count("count");
  work.add = fields.flag("add");
  const Fields into = fields.object("into");
  work.intoType = dtypeIn(into, "accumulator");
  if (work.intoType != DType::float32 && work.intoType != DType::float64) {
    fail("E_ARGUMENT", "an accumulator is float32 or float64");
  }
  work.into = elementsAt(into, work.arenas, work.count, optim::elementBytes(work.intoType));
  const Fields from = fields.object("from");
  work.fromType = dtypeIn(from, "gradient");
  work.from = elementsAt(from, work.arenas, work.count, optim::elementBytes(work.fromType));
  ticket.bytes = work.count * (optim::elementBytes(work.fromType) + (work.add ? 2 : 1) * optim::elementBytes(work.intoType));
  return work;
}

std::vector<TicketId> readIds(napi_env env, napi_value list) {
  const uint32_t count = js::arrayLength(env, list, "after");
  std::vector<TicketId> ids;
  for (uint32_t i = 0; i < count; ++i) {
    const double id = js::readNumber(env, js::element(env, list, i), "after");
    if (!(id >= 1 && id <= 9007199254740992.0)) fail("E_ARGUMENT", "a ticket id is a whole number from 1, got " + std::to_string(id));
    ids.push_back(static_cast<TicketId>(id));
  }
  return ids;
}

}  // namespace

std::unique_ptr<Ticket> readTicket(napi_env env, napi_value value) {
  const Fields fields(env, value);
  auto ticket = std::make_unique<Ticket>();
  ticket->id = fields.count("id");
  ticket->after = readIds(env, fields.value("after"));
  ticket->afterMoment = fields.countOrNone("afterMoment");
  ticket->afterCell = static_cast<int>(fields.countOrNone("afterCell"));
  ticket->cause = fields.text("cause");
  ticket->chunk = fields.count("chunk");
  ticket->step = fields.count("step");

  const std::string lane = fields.text("lane");
  if (lane == "read" || lane == "write") {
    ticket->lane = lane == "read" ? LaneName::read : LaneName::write;
    ticket->work = readDisk(fields, *ticket, lane == "write");
  } else if (lane == "sync") {
    ticket->lane = LaneName::write;
    ticket->work = DiskWork{SwapUse(io::findSwap(fields.count("swap")).get()), {}, true, true, 0, nullptr};
  } else if (lane == "toDevice" || lane == "toHost") {
    ticket->lane = lane == "toDevice" ? LaneName::toDevice : LaneName::toHost;
    ticket->work = readCopy(fields, *ticket);
  } else if (lane == "update") {
    ticket->lane = LaneName::update;
    if (fields.has("into")) {
      ticket->work = readAccumulate(fields, *ticket);
    } else {
      ticket->work = readUpdate(env, fields, *ticket);
    }
  } else if (lane == "stage") {
    ticket->lane = LaneName::stage;
    ticket->work = readStage(fields, *ticket);
  } else if (lane == "save") {
    ticket->lane = LaneName::save;
    ticket->work = readSave(env, fields, *ticket);
  } else {
    fail("E_ARGUMENT", "no lane is called '" + lane + "'");
  }
  return ticket;
}

}  // namespace tierra::executor
