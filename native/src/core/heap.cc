#include "core/heap.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace tierra {

namespace {

constexpr std::size_t kPage = 4096;
// Address space is asked for in pieces of at least this, so that neighbours are likely to merge.
constexpr std::size_t kLeastMapping = std::size_t{256} << 20;

std::size_t roundUp(std::size_t bytes, std::size_t step) { return (bytes + step - 1) / step * step; }

char* pageFrom(char* data) {
  return reinterpret_cast<char*>(roundUp(reinterpret_cast<std::uintptr_t>(data), kPage));
}

char* pageUpTo(char* data) { return reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(data) / kPage * kPage); }

}  // namespace

void Heap::insert(char* data, Free free) {
  sizes(free.isCommitted).emplace(free.bytes, data);
  ranges_.emplace(data, free);
}

void Heap::erase(Ranges::iterator range) {
  sizes(range->second.isCommitted).erase({range->second.bytes, range->first});
  ranges_.erase(range);
}

void Heap::add(char* data, std::size_t bytes, bool isCommitted) {
  auto next = ranges_.lower_bound(data);
  if (next != ranges_.end() && next->second.isCommitted == isCommitted && data + bytes == next->first) {
    bytes += next->second.bytes;
    const auto merged = next++;
    erase(merged);
  }
  if (next != ranges_.begin()) {
    const auto before = std::prev(next);
    if (before->second.isCommitted == isCommitted && before->first + before->second.bytes == data) {
      data = before->first;
      bytes += before->second.bytes;
      erase(before);
    }
  }
  insert(data, {bytes, isCommitted});
}

char* Heap::takeCommitted(std::size_t bytes) {
  const auto found = committed_.lower_bound({bytes, nullptr});
  if (found == committed_.end()) return nullptr;
  const auto [size, data] = *found;
  erase(ranges_.find(data));
  if (size > bytes) insert(data + bytes, {size - bytes, true});
  return data;
}

Heap::Taken Heap::takeGrowing(std::size_t bytes) {
  // A free committed range right before fresh space grows into it: less is committed, and the two are one from then on.
  auto best = fresh_.end();
  std::size_t bestOwn = 0;
  for (auto it = fresh_.begin(); it != fresh_.end(); ++it) {
    const auto range = ranges_.find(it->second);
    std::size_t own = 0;
    if (range != ranges_.begin()) {
      const auto before = std::prev(range);
      if (before->second.isCommitted && before->first + before->second.bytes == range->first) own = before->second.bytes;
    }
    if (own + it->first < bytes || (best != fresh_.end() && own <= bestOwn)) continue;
    best = it;
    bestOwn = own;
  }
  if (best == fresh_.end()) return mapMore(bytes) ? takeGrowing(bytes) : Taken{};
  const auto [size, fresh] = *best;
  const std::size_t grown = std::min(size, roundUp(bytes - bestOwn, kPage));
  erase(ranges_.find(fresh));
  if (size > grown) insert(fresh + grown, {size - grown, false});
  char* data = fresh - bestOwn;
  if (bestOwn > 0) erase(ranges_.find(data));
  if (bestOwn + grown > bytes) insert(data + bytes, {bestOwn + grown - bytes, true});
  return {data, grown};
}

bool Heap::mapMore(std::size_t bytes) {
  const std::size_t size = roundUp(std::max(bytes, kLeastMapping), kPage);
  void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED && size > bytes) {
    // Where address space is limited (ulimit -v) no more than this.
    mapped = mmap(nullptr, roundUp(bytes, kPage), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return false;
    add(static_cast<char*>(mapped), roundUp(bytes, kPage), false);
    return true;
  }
  if (mapped == MAP_FAILED) return false;
  add(static_cast<char*>(mapped), size, false);
  return true;
}

void Heap::give(char* data, std::size_t bytes) { add(data, bytes, true); }

std::size_t Heap::release(std::size_t bytes) {
  std::size_t released = 0;
  auto largest = committed_.end();
  while (released < bytes && largest != committed_.begin()) {
    const auto [size, data] = *std::prev(largest);
    char* const to = pageUpTo(data + size);
    // Only what is asked for, from the end: what stays is in one piece, and so is the fresh space behind it.
    const std::size_t wanted = roundUp(bytes - released, kPage);
    char* const first = pageFrom(data);
    char* const from = first < to && static_cast<std::size_t>(to - first) > wanted ? to - wanted : first;
    if (from >= to) {
      // Smaller ones may still hold a page that lies better.
      if (size < kPage) break;
      --largest;
      continue;
    }
    erase(ranges_.find(data));
    madvise(from, static_cast<std::size_t>(to - from), MADV_DONTNEED);
    released += static_cast<std::size_t>(to - from);
    if (from > data) insert(data, {static_cast<std::size_t>(from - data), true});
    if (to < data + size) insert(to, {static_cast<std::size_t>(data + size - to), true});
    add(from, static_cast<std::size_t>(to - from), false);
    // The set changed: ranges larger than this one hold no whole page any more.
    largest = committed_.lower_bound({size, data});
  }
  return released;
}

}  // namespace tierra
