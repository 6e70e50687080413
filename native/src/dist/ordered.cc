#include "dist/ordered.h"

#include <ATen/ATen.h>

#include <deque>

#include "dist/counters.h"

namespace tierra::dist {

namespace {

using Works = std::vector<c10::intrusive_ptr<c10d::Work>>;

void waitAll(const Works& works) {
  for (const auto& work : works) work->wait();
}

template <typename Wide, typename T>
void copyInto(Wide* into, const T* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) into[i] = static_cast<Wide>(from[i]);
}

template <typename Wide, typename T>
void addInto(Wide* into, const T* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) into[i] += static_cast<Wide>(from[i]);
}

// Receives from all others in rank order, at most two messages ahead, and adds own at its place.
template <typename T, typename Wide>
void sumInRankOrder(const Messages& messages, const at::Tensor& own, const at::Tensor& into, int tag) {
  const int64_t count = into.numel();
  constexpr bool isWide = std::is_same_v<T, Wide>;
  // Where `into` is the place of `own`, it must be read before it is written.
  const at::Tensor kept = own.is_alias_of(into) && messages.rank != 0 ? own.clone() : own;
  const at::Tensor wide = isWide ? into : at::empty({count}, into.options().dtype(c10::CppTypeToScalarType<Wide>::value));
  auto* sum = static_cast<Wide*>(wide.data_ptr());
  std::vector<int> peers;
  for (int p = 0; p < messages.size; ++p) {
    if (p != messages.rank) peers.push_back(p);
  }
  struct Coming {
    at::Tensor buffer;
    c10::intrusive_ptr<c10d::Work> work;
  };
  std::deque<Coming> coming;
  size_t asked = 0;
  const auto ask = [&](at::Tensor buffer) {
    if (asked == peers.size()) return;
    auto work = messages.receive(buffer, peers[asked++], tag);
    coming.push_back({std::move(buffer), std::move(work)});
  };
  for (int ahead = 0; ahead < 2; ++ahead) ask(at::empty_like(into));
  for (int p = 0; p < messages.size; ++p) {
    at::Tensor part = kept;
    if (p != messages.rank) {
      coming.front().work->wait();
      part = coming.front().buffer;
      coming.pop_front();
    }
    const auto* values = static_cast<const T*>(part.const_data_ptr());
    if (p > 0) {
      addInto(sum, values, count);
    } else if (static_cast<const void*>(values) != static_cast<const void*>(sum)) {
      copyInto(sum, values, count);
    }
    if (p != messages.rank) ask(part);
  }
  if constexpr (!isWide) copyInto(static_cast<T*>(into.data_ptr()), sum, count);
}

void sumParts(const Messages& messages, const at::Tensor& own, const at::Tensor& into, int tag) {
  if (into.numel() == 0) return;
  switch (into.scalar_type()) {
    case at::kFloat:
      return sumInRankOrder<float, float>(messages, own, into, tag);
    case at::kDouble:
      return sumInRankOrder<double, double>(messages, own, into, tag);
    case at::kHalf:
      return sumInRankOrder<at::Half, float>(messages, own, into, tag);
    case at::kBFloat16:
      return sumInRankOrder<at::BFloat16, float>(messages, own, into, tag);
    case at::kInt:
      return sumInRankOrder<int32_t, int32_t>(messages, own, into, tag);
    default:
      return sumInRankOrder<int64_t, int64_t>(messages, own, into, tag);
  }
}

Works sendParts(const Messages& messages, const std::vector<at::Tensor>& parts, int tag) {
  Works sent;
  // Rank r starts with r + 1, so that not all send to the same rank first.
  for (int step = 1; step < messages.size; ++step) {
    const int peer = (messages.rank + step) % messages.size;
    if (parts[peer].numel() > 0) sent.push_back(messages.send(parts[peer], peer, tag));
  }
  return sent;
}

}  // namespace

bool canOrder(at::ScalarType type) {
  return type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16 || type == at::kInt ||
         type == at::kLong;
}

void orderedReduceScatter(const Messages& messages, const std::vector<at::Tensor>& parts, at::Tensor into, int tag) {
  const Works sent = sendParts(messages, parts, tag);
  sumParts(messages, parts[messages.rank], into, tag);
  waitAll(sent);
}

void orderedAllReduce(const Messages& messages, at::Tensor flat, int tag) {
  std::vector<at::Tensor> parts;
  for (int p = 0; p < messages.size; ++p) {
    parts.push_back(flat.narrow(0, partBegin(flat.numel(), messages.size, p), partSize(flat.numel(), messages.size, p)));
  }
  const at::Tensor own = parts[messages.rank];
  orderedReduceScatter(messages, parts, own, tag);
  Works moving = sendParts(messages, std::vector<at::Tensor>(messages.size, own), tag + 1);
  for (int p = 0; p < messages.size; ++p) {
    if (p != messages.rank && parts[p].numel() > 0) moving.push_back(messages.receive(parts[p], p, tag + 1));
  }
  waitAll(moving);
}

void orderedReduce(const Messages& messages, at::Tensor flat, int root, int tag) {
  if (messages.rank == root) {
    sumParts(messages, flat, flat, tag);
  } else if (flat.numel() > 0) {
    messages.send(flat, root, tag)->wait();
  }
}

}  // namespace tierra::dist
