#include <algorithm>
#include <map>
#include <mutex>

#include "io/failure.h"
#include "arena.h"

namespace tierra::memory {
namespace {

// Never destroyed: tensors and lanes may outlive static destructors.
std::mutex mutex;
auto& arenas = *new std::map<ArenaId, std::shared_ptr<Arena>>;
auto& registrars = *new std::vector<BufferRegistrar*>;

bool isRegistrable(const Arena& arena) { return arena.options().kind == ArenaKind::host && !arena.onGpu(); }

}  // namespace

std::shared_ptr<Arena> createArena(const ArenaOptions& options) {
  auto arena = std::make_shared<Arena>(options);
  std::lock_guard lock(mutex);
  arenas.emplace(arena->id(), arena);
  if (isRegistrable(*arena)) {
    for (auto* registrar : registrars) registrar->addBuffer(arena->id(), arena->at(0, arena->bytes()), arena->bytes());
  }
  return arena;
}

std::shared_ptr<Arena> borrowArena(const ArenaOptions& options, char* base, bool onGpu, std::shared_ptr<void> owner) {
  auto arena = std::make_shared<Arena>(options, base, onGpu, std::move(owner));
  std::lock_guard lock(mutex);
  arenas.emplace(arena->id(), arena);
  return arena;
}

std::shared_ptr<Arena> forgetArena(ArenaId id) {
  auto arena = findArena(id);
  if (arena->owner() == nullptr) fail("E_ARGUMENT", "arena " + std::to_string(id) + " is not a storage's bytes");
  dropArena(id);
  return arena;
}

void dropArena(ArenaId id) {
  std::lock_guard lock(mutex);
  arenas.erase(id);
}

std::shared_ptr<Arena> findArena(ArenaId id) {
  std::lock_guard lock(mutex);
  const auto found = arenas.find(id);
  if (found == arenas.end()) fail("E_STATE", "there is no arena " + std::to_string(id) + " (destroyed?)");
  return found->second;
}

void destroyArena(ArenaId id) {
  const auto arena = findArena(id);
  std::lock_guard lock(mutex);
  if (arena->users() > 0) {
    fail("E_STATE",
         "arena " + std::to_string(id) + " cannot be destroyed: " + std::to_string(arena->users()) +
             " views, bound storages or transfers use it",
         "Release its tensors, unbind its storages and drain the executor first.",
         {{"arena", static_cast<double>(id)}, {"users", static_cast<double>(arena->users())}});
  }
  for (auto* registrar : registrars) registrar->removeBuffer(id);
  arenas.erase(id);
}

std::size_t liveArenas() {
  std::lock_guard lock(mutex);
  return arenas.size();
}

void addRegistrar(BufferRegistrar* registrar) {
  std::lock_guard lock(mutex);
  registrars.push_back(registrar);
  for (const auto& [id, arena] : arenas) {
    if (isRegistrable(*arena)) registrar->addBuffer(id, arena->at(0, arena->bytes()), arena->bytes());
  }
}

void removeRegistrar(BufferRegistrar* registrar) {
  std::lock_guard lock(mutex);
  registrars.erase(std::remove(registrars.begin(), registrars.end(), registrar), registrars.end());
}

}  // namespace tierra::memory
