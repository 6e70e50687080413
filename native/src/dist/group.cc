#include "dist/group.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "core/error.h"
#include "core/table.h"
#include "dist/ordered.h"

namespace tierra::dist {

namespace {

// Tags below are the user's.
constexpr int kFirstOwnTag = 1 << 30;

// Adds the time that the caller spends here.
class Blocked {
 public:
  explicit Blocked(Counter& counter) : counter_(counter) {}
  ~Blocked() {
    const auto spent = std::chrono::steady_clock::now() - begin_;
    counter_.blockedNs += std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count();
  }

 private:
  Counter& counter_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// Without the source file that Gloo puts in front.
std::string withoutPlace(const std::string& text) {
  const size_t end = text.find("] ");
  return text.starts_with("[") && end != std::string::npos && text.find(".cc:") < end ? text.substr(end + 2) : text;
}

bool saysTimeout(const std::string& text) {
  return text.find("imed out") != std::string::npos || text.find("imeout") != std::string::npos;
}

std::string shapeText(const at::Tensor& tensor) {
  std::string text = "[";
  for (const int64_t size : tensor.sizes()) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

c10d::ReduceOp reduceOp(Reduction reduction) {
  switch (reduction) {
    case Reduction::max:
      return c10d::ReduceOp::MAX;
    case Reduction::min:
      return c10d::ReduceOp::MIN;
    default:
      return c10d::ReduceOp::SUM;
  }
}

at::ScalarType wideTypeOf(at::ScalarType type) {
  return type == at::kHalf || type == at::kBFloat16 ? at::kFloat : type;
}

// The rows of `parts` added up in their order, in fp32 at least, rounded once.
void sumRows(const at::Tensor& parts, at::Tensor into) {
  at::Tensor sum = parts[0].to(wideTypeOf(parts.scalar_type()), /*non_blocking=*/false, /*copy=*/true);
  for (int64_t p = 1; p < parts.size(0); ++p) sum.add_(parts[p]);
  into.view({-1}).copy_(sum);
}

}  // namespace

void Work::wait() {
  if (!over_) {
    over_ = true;
    const Blocked blocked(group_->counters_[static_cast<size_t>(kind_)]);
    try {
      if (native_) native_->wait();
      if (job_.valid()) job_.get();
      if (finish_) finish_();
    } catch (...) {
      failure_ = withoutPlace(describeCurrentException().message);
    }
    --group_->underWay_;
    native_.reset();
    job_ = {};
    finish_ = {};
    held_.clear();
  }
  if (!failure_) return;
  const bool timedOut = saysTimeout(*failure_);
  const double seconds = static_cast<double>(group_->options_.timeout.count()) / 1000;
  Details details{{"group", group_->name()},
                  {"collective", kindNames[static_cast<size_t>(kind_)]},
                  {"position", double(group_->rank())},
                  {"rank", double(group_->options_.ranks[group_->rank()])},
                  {"timedOut", timedOut ? 1.0 : 0.0},
                  {"seconds", seconds},
                  {"reason", *failure_}};
  fail("E_COLLECTIVE", what_ + (timedOut ? " timed out: " : " failed: ") + *failure_,
       timedOut ? "A rank does not come along: it hangs, does something else, or is slower than the time-out allows. Look at "
                  "what the other ranks do; connect()'s timeoutSeconds sets the time."
                : "Another rank has ended or cannot be reached: look at the first rank that stopped.",
       std::move(details));
}

Group::Group(GroupOptions options)
    : options_(std::move(options)), isNccl_(options_.backend == "nccl"), nextTag_(kFirstOwnTag) {
  if (!isNccl_ && options_.backend != "gloo") fail("E_ARGUMENT", "there is no back end \"" + options_.backend + "\"");
  if (isNccl_ ? !hasNccl() : !hasGloo()) (isNccl_ ? makeNccl : makeGloo)({});
  if (size() == 1) return;
  const BackendOptions wanted{options_.store, options_.rank, size(), options_.timeout, options_.listenOn};
  try {
    made_ = isNccl_ ? makeNccl(wanted) : makeGloo(wanted);
  } catch (const NativeError&) {
    throw;
  } catch (...) {
    const std::string why = withoutPlace(describeCurrentException().message);
    fail("E_COLLECTIVE",
         "group \"" + name() + "\" could not be made on rank " + std::to_string(options_.ranks[rank()]) + " (position " +
             std::to_string(rank()) + " of " + std::to_string(size()) + "): " + why,
         "Every rank of the group must make it, and they must reach each other: GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME names the "
         "network interface.",
         {{"group", name()}, {"rank", double(options_.ranks[rank()])}, {"reason", why}});
  }
  lane_ = std::make_unique<Lane>();
}

Group::~Group() {
  if (underWay_ > 0) abort();
  lane_.reset();
}

void Group::abort() noexcept {
  if (aborted_.exchange(true) || !made_.backend) return;
  try {
    made_.abort(*made_.backend);
  } catch (...) {
    // It is being given up anyway.
  }
}

std::string Group::describe(Kind kind, const at::Tensor* tensor) const {
  std::string text = kindNames[static_cast<size_t>(kind)];
  if (tensor != nullptr) text += " of " + shapeText(*tensor) + " " + c10::toString(tensor->scalar_type());
  return text + " in group \"" + name() + "\" on rank " + std::to_string(options_.ranks[rank()]) + " (position " +
         std::to_string(rank()) + " of " + std::to_string(size()) + ")";
}

void Group::refuse(Kind kind, const std::string& why) const {
  fail("E_ARGUMENT", describe(kind, nullptr) + ": " + why, {}, {{"group", name()}});
}

void Group::checkTensor(Kind kind, const char* name, const at::Tensor& tensor) const {
  if (!tensor.is_contiguous()) refuse(kind, std::string(name) + " of shape " + shapeText(tensor) + " is not contiguous");
  requireBytes(tensor, describe(kind, &tensor));
  if (size() == 1) return;
  if (tensor.is_cuda() != isNccl_) {
    refuse(kind, std::string(name) + " is on " + tensor.device().str() + ", the group moves bytes between " +
                     (isNccl_ ? "GPUs (nccl)" : "CPUs (gloo)"));
  }
}

void Group::checkPeer(Kind kind, const char* name, int peer) const {
  if (peer < 0 || peer >= size()) {
    refuse(kind, std::string(name) + " is position " + std::to_string(peer) + ", the group has " + std::to_string(size()));
  }
}

WorkPtr Group::start(Kind kind, const std::vector<at::Tensor>& tensors, int64_t received) {
  auto work = std::make_shared<Work>();
  work->group_ = shared_from_this();
  work->kind_ = kind;
  work->what_ = describe(kind, tensors.empty() ? nullptr : &tensors[0]);
  // Views without a graph: nothing that runs here is recorded.
  for (const at::Tensor& tensor : tensors) work->held_.push_back(tensor.detach());
  Counter& counter = counters_[static_cast<size_t>(kind)];
  ++counter.calls;
  counter.elements += received;
  if (!tensors.empty()) counter.bytes += received * tensors[0].element_size();
  ++underWay_;
  return work;
}

template <typename Call>
void Group::issue(const WorkPtr& work, Call&& call) {
  const Blocked blocked(counters_[static_cast<size_t>(work->kind_)]);
  const c10::InferenceMode plain(false);
  const at::NoGradGuard noGraph;
  try {
    const std::lock_guard lock(mutex_);
    work->native_ = call(*made_.backend);
  } catch (...) {
    // Said by wait(), like everything else that goes wrong on the way.
    work->failure_ = withoutPlace(describeCurrentException().message);
    work->over_ = true;
    --underWay_;
  }
}

void Group::inLane(const WorkPtr& work, std::function<void()> body) {
  work->job_ = lane_->run(std::packaged_task<void()>([body = std::move(body)] {
    const at::NoGradGuard noGraph;
    body();
  }));
}

Messages Group::messages() {
  const auto exchange = [this](bool sends) {
    return [this, sends](at::Tensor tensor, int peer, int tag) {
      std::vector<at::Tensor> one{std::move(tensor)};
      const std::lock_guard lock(mutex_);
      return sends ? made_.backend->send(one, peer, tag) : made_.backend->recv(one, peer, tag);
    };
  };
  return {rank(), size(), exchange(true), exchange(false)};
}

WorkPtr Group::allReduce(at::Tensor tensor, Reduction reduction) {
  checkTensor(Kind::allReduce, "the tensor", tensor);
  auto work = start(Kind::allReduce, {tensor}, allReduceReceives(tensor.numel(), rank(), size()));
  const at::Tensor flat = work->held_[0].view({-1});
  if (size() == 1 || flat.numel() == 0) return work;
  const bool ordered = options_.deterministic && reduction == Reduction::sum && canOrder(tensor.scalar_type());
  if (ordered && sumsInLane()) {
    const int tag = nextTag_;
    nextTag_ += 2;
    inLane(work, [messages = messages(), flat, tag] { orderedAllReduce(messages, flat, tag); });
    return work;
  }
  if (ordered) {
    const int64_t part = (flat.numel() + size() - 1) / size();
    const at::Tensor padded = at::zeros({size(), part}, flat.options());
    padded.view({-1}).narrow(0, 0, flat.numel()).copy_(flat);
    at::Tensor theirs = at::empty_like(padded);
    issue(work, [&](c10d::Backend& backend) {
      std::vector<int64_t> equal;
      at::Tensor from = padded;
      return backend.alltoall_base(theirs, from, equal, equal);
    });
    work->held_.insert(work->held_.end(), {padded, theirs});
    work->finish_ = [this, padded, theirs, flat, rank = rank()] {
      at::Tensor own = padded[rank], all = padded;
      sumRows(theirs, own);
      at::Tensor sum = own.clone();
      made_.backend->_allgather_base(all, sum)->wait();
      flat.copy_(padded.view({-1}).narrow(0, 0, flat.numel()));
    };
    return work;
  }
  issue(work, [&](c10d::Backend& backend) {
    c10d::AllreduceOptions options;
    options.reduceOp = reduceOp(reduction);
    options.timeout = options_.timeout;
    std::vector<at::Tensor> one{flat};
    return backend.allreduce(one, options);
  });
  return work;
}

WorkPtr Group::allGather(at::Tensor into, at::Tensor from) {
  checkTensor(Kind::allGather, "into", into);
  checkTensor(Kind::allGather, "from", from);
  if (into.numel() != from.numel() * size() || into.scalar_type() != from.scalar_type()) {
    refuse(Kind::allGather, "into " + shapeText(into) + " must hold " + std::to_string(size()) + " times from " + shapeText(from) +
                                " and be of its element type");
  }
  auto work = start(Kind::allGather, {into, from}, (size() - 1) * from.numel());
  at::Tensor all = work->held_[0].view({-1}), own = work->held_[1].view({-1});
  if (own.numel() == 0) return work;
  if (size() == 1) {
    all.copy_(own);
    return work;
  }
  issue(work, [&](c10d::Backend& backend) {
    c10d::AllgatherOptions options;
    options.timeout = options_.timeout;
    return backend._allgather_base(all, own, options);
  });
  return work;
}

WorkPtr Group::reduceScatter(at::Tensor into, at::Tensor from) {
  checkTensor(Kind::reduceScatter, "into", into);
  checkTensor(Kind::reduceScatter, "from", from);
  if (from.numel() != into.numel() * size() || into.scalar_type() != from.scalar_type()) {
    refuse(Kind::reduceScatter, "from " + shapeText(from) + " must hold " + std::to_string(size()) + " times into " +
                                    shapeText(into) + " and be of its element type");
  }
  if (!canOrder(into.scalar_type())) {
    refuse(Kind::reduceScatter, std::string(c10::toString(into.scalar_type())) + " cannot be summed");
  }
  auto work = start(Kind::reduceScatter, {into, from}, (size() - 1) * into.numel());
  at::Tensor own = work->held_[0].view({-1}), all = work->held_[1].view({-1});
  if (own.numel() == 0) return work;
  if (size() == 1) {
    own.copy_(all);
    return work;
  }
  if (sumsInLane()) {
    std::vector<at::Tensor> parts = all.chunk(size());
    inLane(work, [messages = messages(), parts, own, tag = nextTag_++] { orderedReduceScatter(messages, parts, own, tag); });
    return work;
  }
  if (options_.deterministic) {
    at::Tensor theirs = at::empty({size(), own.numel()}, own.options());
    at::Tensor mine = all.view({size(), -1});
    issue(work, [&](c10d::Backend& backend) {
      std::vector<int64_t> equal;
      return backend.alltoall_base(theirs, mine, equal, equal);
    });
    work->held_.push_back(theirs);
    work->finish_ = [theirs, own] { sumRows(theirs, own); };
    return work;
  }
  issue(work, [&](c10d::Backend& backend) { return backend._reduce_scatter_base(own, all); });
  return work;
}

WorkPtr Group::broadcast(at::Tensor tensor, int root) {
  checkTensor(Kind::broadcast, "the tensor", tensor);
  checkPeer(Kind::broadcast, "the root", root);
  auto work = start(Kind::broadcast, {tensor}, rank() == root ? 0 : tensor.numel());
  if (size() == 1 || tensor.numel() == 0) return work;
  issue(work, [&](c10d::Backend& backend) {
    c10d::BroadcastOptions options;
    options.rootRank = root;
    options.timeout = options_.timeout;
    std::vector<at::Tensor> one{work->held_[0].view({-1})};
    return backend.broadcast(one, options);
  });
  return work;
}

WorkPtr Group::reduce(at::Tensor tensor, int root) {
  checkTensor(Kind::reduce, "the tensor", tensor);
  checkPeer(Kind::reduce, "the root", root);
  auto work = start(Kind::reduce, {tensor}, size() == 1 ? 0 : reduceReceives(tensor.numel(), rank(), size(), root));
  const at::Tensor flat = work->held_[0].view({-1});
  if (size() == 1 || flat.numel() == 0) return work;
  if (options_.deterministic && sumsInLane() && canOrder(tensor.scalar_type())) {
    inLane(work, [messages = messages(), flat, root, tag = nextTag_++] { orderedReduce(messages, flat, root, tag); });
    return work;
  }
  issue(work, [&](c10d::Backend& backend) {
    c10d::ReduceOptions options;
    options.rootRank = root;
    options.timeout = options_.timeout;
    std::vector<at::Tensor> one{flat};
    return backend.reduce(one, options);
  });
  return work;
}

WorkPtr Group::allToAll(at::Tensor into, at::Tensor from, std::vector<int64_t> intoSplits, std::vector<int64_t> fromSplits) {
  checkTensor(Kind::allToAll, "into", into);
  checkTensor(Kind::allToAll, "from", from);
  if (into.dim() == 0 || into.dim() != from.dim() || !std::equal(into.sizes().begin() + 1, into.sizes().end(), from.sizes().begin() + 1) ||
      into.scalar_type() != from.scalar_type()) {
    refuse(Kind::allToAll, "into " + shapeText(into) + " and from " + shapeText(from) +
                               " must have equal rows (all dimensions but the first) and element types");
  }
  const auto complete = [&](std::vector<int64_t>& splits, const at::Tensor& tensor, const char* name) {
    if (splits.empty() && tensor.size(0) % size() == 0) splits.assign(size(), tensor.size(0) / size());
    const bool fits = splits.size() == static_cast<size_t>(size()) && std::ranges::all_of(splits, [](int64_t n) { return n >= 0; }) &&
                      std::accumulate(splits.begin(), splits.end(), int64_t{0}) == tensor.size(0);
    if (!fits) refuse(Kind::allToAll, std::string(name) + " does not split " + std::to_string(tensor.size(0)) + " rows over " + std::to_string(size()) + " positions");
  };
  complete(intoSplits, into, "intoSplits");
  complete(fromSplits, from, "fromSplits");
  const int64_t rowElements = into.size(0) == 0 ? 0 : into.numel() / into.size(0);
  auto work = start(Kind::allToAll, {into, from}, (into.size(0) - intoSplits[rank()]) * rowElements);
  at::Tensor theirs = work->held_[0], mine = work->held_[1];
  if (size() == 1) {
    theirs.copy_(mine);
    return work;
  }
  issue(work, [&](c10d::Backend& backend) {
    c10d::AllToAllOptions options;
    options.timeout = options_.timeout;
    return backend.alltoall_base(theirs, mine, intoSplits, fromSplits, options);
  });
  return work;
}

WorkPtr Group::send(at::Tensor tensor, int to, int tag) {
  checkTensor(Kind::send, "the tensor", tensor);
  checkPeer(Kind::send, "the receiver", to);
  if (to == rank()) refuse(Kind::send, "a rank cannot send to itself");
  auto work = start(Kind::send, {tensor}, 0);
  if (tensor.numel() == 0) return work;
  issue(work, [&](c10d::Backend& backend) {
    std::vector<at::Tensor> one{work->held_[0].view({-1})};
    return backend.send(one, to, tag);
  });
  return work;
}

WorkPtr Group::receive(at::Tensor tensor, int from, int tag) {
  checkTensor(Kind::receive, "the tensor", tensor);
  checkPeer(Kind::receive, "the sender", from);
  if (from == rank()) refuse(Kind::receive, "a rank cannot receive from itself");
  auto work = start(Kind::receive, {tensor}, tensor.numel());
  if (tensor.numel() == 0) return work;
  issue(work, [&](c10d::Backend& backend) {
    std::vector<at::Tensor> one{work->held_[0].view({-1})};
    return backend.recv(one, from, tag);
  });
  return work;
}

WorkPtr Group::barrier() {
  auto work = start(Kind::barrier, {}, 0);
  if (size() == 1) return work;
  issue(work, [&](c10d::Backend& backend) {
    c10d::BarrierOptions options;
    options.timeout = options_.timeout;
    if (isNccl_) options.device = c10::impl::VirtualGuardImpl(at::kCUDA).getDevice();
    return backend.barrier(options);
  });
  return work;
}

}  // namespace tierra::dist
