// One group of ranks: libtorch's process group behind counters, checks, sums in rank order, and errors that say which
// group, collective and rank. Collectives are called in the same order by all ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "dist/backend.h"
#include "dist/counters.h"
#include "dist/lane.h"

namespace tierra::dist {

enum class Reduction { sum, max, min };

struct GroupOptions {
  std::string name;
  std::string backend;
  // World ranks, in the group's order.
  std::vector<int64_t> ranks;
  int rank = 0;
  Timeout timeout{0};
  bool deterministic = false;
  std::string listenOn;
  // Unset for a group of one, which needs nobody.
  c10::intrusive_ptr<c10d::Store> store;
};

class Group;

// A collective under way. Holds its tensors until it is over.
class Work {
 public:
  // Throws E_COLLECTIVE. On a GPU the current stream waits, the caller does not.
  void wait();

 private:
  friend class Group;
  std::shared_ptr<Group> group_;
  Kind kind_ = Kind::barrier;
  std::string what_;
  std::vector<at::Tensor> held_;
  c10::intrusive_ptr<c10d::Work> native_;
  std::shared_future<void> job_;
  // On the waiting thread, after the messages.
  std::function<void()> finish_;
  bool over_ = false;
  std::optional<std::string> failure_;
};

using WorkPtr = std::shared_ptr<Work>;

class Group : public std::enable_shared_from_this<Group> {
 public:
  explicit Group(GroupOptions options);
  ~Group();

  WorkPtr allReduce(at::Tensor tensor, Reduction reduction);
  WorkPtr allGather(at::Tensor into, at::Tensor from);
  WorkPtr reduceScatter(at::Tensor into, at::Tensor from);
  WorkPtr broadcast(at::Tensor tensor, int root);
  WorkPtr reduce(at::Tensor tensor, int root);
  // Rows from and to each position; empty for equal parts.
  WorkPtr allToAll(at::Tensor into, at::Tensor from, std::vector<int64_t> intoSplits, std::vector<int64_t> fromSplits);
  WorkPtr send(at::Tensor tensor, int to, int tag);
  WorkPtr receive(at::Tensor tensor, int from, int tag);
  WorkPtr barrier();

  // Makes whatever is under way fail now. The group is of no use afterwards.
  void abort() noexcept;

  const std::string& name() const { return options_.name; }
  int rank() const { return options_.rank; }
  int size() const { return static_cast<int>(options_.ranks.size()); }
  Counters& counters() { return counters_; }

 private:
  friend class Work;
  WorkPtr start(Kind kind, const std::vector<at::Tensor>& tensors, int64_t received);
  void checkTensor(Kind kind, const char* name, const at::Tensor& tensor) const;
  void checkPeer(Kind kind, const char* name, int peer) const;
  [[noreturn]] void refuse(Kind kind, const std::string& why) const;
  // Runs `call` on the back end; its failures become E_COLLECTIVE.
  template <typename Call>
  void issue(const WorkPtr& work, Call&& call);
  void inLane(const WorkPtr& work, std::function<void()> body);
  struct Messages messages();
  bool sumsInLane() const { return !isNccl_; }
  std::string describe(Kind kind, const at::Tensor* tensor) const;

  const GroupOptions options_;
  const bool isNccl_;
  std::mutex mutex_;
  MadeBackend made_;
  Counters counters_{};
  int nextTag_;
  std::atomic<int> underWay_{0};
  std::atomic<bool> aborted_{false};
  std::unique_ptr<Lane> lane_;
};

std::shared_ptr<Group> findGroup(double id);
// As operators carry it.
inline std::shared_ptr<Group> findGroup(int64_t id) { return findGroup(static_cast<double>(id)); }

}  // namespace tierra::dist
