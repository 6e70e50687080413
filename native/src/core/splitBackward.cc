#include "core/splitBackward.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/environment.h"
#include "core/error.h"
#include "core/js.h"

namespace tierra {

namespace {

using torch::autograd::Edge;
using torch::autograd::edge_list;
using torch::autograd::Engine;
using torch::autograd::Node;
using torch::autograd::impl::gradient_edge;

// Weight gradients still to be computed. Holds the graph's nodes and the gradients that arrived at them.
struct DeferredWeights {
  // A node at which the way to some weights leaves the way to the inputs.
  struct Branch {
    edge_list roots;
    std::vector<at::Tensor> gradients;
    // Positions of its weights.
    std::vector<size_t> weights;
  };
  edge_list weights;
  std::vector<Branch> branches;
  // Gradients that came with those of the inputs, of weights that several branches share.
  std::vector<at::Tensor> ready;
};

// Those of one JavaScript thread, by number.
struct Waiting {
  std::unordered_map<int64_t, DeferredWeights> byId;
  int64_t next = 1;

  double add(DeferredWeights deferred) {
    byId.emplace(next, std::move(deferred));
    return static_cast<double>(next++);
  }
  DeferredWeights take(int64_t id) {
    const auto found = byId.find(id);
    if (found == byId.end()) fail("E_STATE", "these weight gradients were computed or dropped before");
    DeferredWeights deferred = std::move(found->second);
    byId.erase(found);
    return deferred;
  }
};

thread_local Waiting waiting;

std::vector<at::Tensor> readTensors(const js::Args& args, size_t index, const char* name) {
  const uint32_t length = js::arrayLength(args.env(), args[index], name);
  std::vector<at::Tensor> out(length);
  for (uint32_t i = 0; i < length; ++i) {
    out[i] = tensorOf(js::readNumber(args.env(), js::element(args.env(), args[index], i), name));
  }
  return out;
}

// What a node leads to: inputs, or the weights at these positions.
struct Reach {
  bool input = false;
  std::vector<size_t> weights;

  void join(const std::vector<size_t>& others) {
    std::vector<size_t> both;
    std::set_union(weights.begin(), weights.end(), others.begin(), others.end(), std::back_inserter(both));
    weights = std::move(both);
  }
};

class Graph {
 public:
  Graph(const edge_list& roots, const edge_list& inputs, const edge_list& weights) {
    for (const Edge& edge : inputs) leaves_[edge.function.get()].input = true;
    for (size_t i = 0; i < weights.size(); ++i) leaves_[weights[i].function.get()].weights.push_back(i);
    for (const Edge& root : roots) visit(root.function.get());
  }

  const Reach& reach(const Node* node) const { return reach_.at(node); }
  // An edge to every node but the roots'.
  const std::vector<Edge>& nodes() const { return nodes_; }

 private:
  // Depth first and without recursion: graphs are deeper than stacks.
  void visit(Node* root) {
    struct Open {
      Node* node;
      size_t next;
    };
    std::vector<Open> open;
    const auto enter = [&](Node* node) {
      if (node != nullptr && reach_.emplace(node, Reach{}).second) open.push_back({node, 0});
    };
    enter(root);
    while (!open.empty()) {
      Open& top = open.back();
      if (top.next < top.node->next_edges().size()) {
        enter(top.node->next_edges()[top.next++].function.get());
        continue;
      }
      Node* node = top.node;
      open.pop_back();
      finish(node);
    }
  }

  void finish(Node* node) {
    Reach found;
    if (const auto leaf = leaves_.find(node); leaf != leaves_.end()) found = leaf->second;
    for (const Edge& edge : node->next_edges()) {
      if (edge.function == nullptr) continue;
      const Reach& below = reach_.at(edge.function.get());
      found.input = found.input || below.input;
      found.join(below.weights);
    }
    reach_.at(node) = std::move(found);
    for (const Edge& edge : node->next_edges()) {
      if (edge.function != nullptr && listed_.insert(edge.function.get()).second) nodes_.push_back(edge);
    }
  }

  std::unordered_map<const Node*, Reach> leaves_;
  std::unordered_map<const Node*, Reach> reach_;
  std::unordered_set<const Node*> listed_;
  std::vector<Edge> nodes_;
};

// Weights that `node` reaches by edges which lead to no input.
std::vector<size_t> ownWeights(const Node& node, const Graph& graph) {
  Reach own;
  for (const Edge& edge : node.next_edges()) {
    if (edge.function == nullptr) continue;
    const Reach& below = graph.reach(edge.function.get());
    if (!below.input) own.join(below.weights);
  }
  return own.weights;
}

edge_list edgesOf(const std::vector<at::Tensor>& tensors) {
  edge_list edges;
  for (const at::Tensor& tensor : tensors) edges.push_back(gradient_edge(tensor));
  return edges;
}

std::vector<at::Tensor> execute(const edge_list& roots, const std::vector<at::Tensor>& gradients, bool keepGraph,
                                const edge_list& outputs) {
  if (roots.empty() || outputs.empty()) return std::vector<at::Tensor>(outputs.size());
  return Engine::get_default_engine().execute(roots, gradients, keepGraph, /*create_graph=*/false,
                                              /*accumulate_grad=*/false, outputs);
}

struct Draft {
  DeferredWeights deferred;
  // Nodes whose incoming gradients are to be kept, parallel to the first branches.
  std::vector<Edge> forks;
};

// Where weights leave the path to the inputs. A weight of several branches would be counted several times: it goes
// with the inputs.
Draft branchesOf(const Graph& graph, const edge_list& roots, const std::vector<at::Tensor>& gradients,
                 const edge_list& weights, std::vector<size_t>& together) {
  Draft draft;
  std::vector<size_t> uses(weights.size(), 0);
  const auto count = [&](const std::vector<size_t>& own) {
    for (const size_t weight : own) ++uses[weight];
  };
  std::unordered_set<const Node*> seen;
  const auto fork = [&](const Edge& edge) {
    if (!seen.insert(edge.function.get()).second || !graph.reach(edge.function.get()).input) return;
    auto own = ownWeights(*edge.function, graph);
    if (own.empty()) return;
    count(own);
    draft.deferred.branches.push_back({{}, {}, std::move(own)});
    draft.forks.push_back(edge);
  };
  for (const Edge& root : roots) fork(root);
  for (const Edge& edge : graph.nodes()) fork(edge);
  // Roots that lead to weights alone have their gradients already.
  for (size_t i = 0; i < roots.size(); ++i) {
    const Reach& reach = graph.reach(roots[i].function.get());
    if (reach.input || reach.weights.empty()) continue;
    count(reach.weights);
    draft.deferred.branches.push_back({{roots[i]}, {gradients[i]}, reach.weights});
  }
  for (size_t i = 0; i < uses.size(); ++i) {
    if (uses[i] > 1) together.push_back(i);
  }
  for (auto& branch : draft.deferred.branches) {
    std::erase_if(branch.weights, [&](size_t weight) { return uses[weight] > 1; });
  }
  return draft;
}

napi_value gradientsToJs(napi_env env, std::vector<at::Tensor> gradients) {
  napi_value made = js::array(env, gradients.size());
  for (uint32_t i = 0; i < gradients.size(); ++i) {
    const bool defined = gradients[i].defined();
    js::setElement(env, made, i, defined ? js::number(env, adopt(std::move(gradients[i]))) : js::null(env));
  }
  return made;
}

// (outputs, inputs, weights, gradOutputs)
napi_value gradInputs(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  Environment::current().references->drain(env);
  const auto outputs = readTensors(args, 0, "outputs");
  const edge_list inputs = edgesOf(readTensors(args, 1, "inputs"));
  const edge_list weights = edgesOf(readTensors(args, 2, "weights"));
  const auto gradients = readTensors(args, 3, "gradOutputs");
  if (gradients.size() != outputs.size()) {
    fail("E_ARGUMENT", "gradInputs() got " + std::to_string(outputs.size()) + " outputs and " +
                           std::to_string(gradients.size()) + " gradients for them");
  }
  const edge_list roots = edgesOf(outputs);
  const Graph graph(roots, inputs, weights);
  std::vector<size_t> together;
  Draft draft = branchesOf(graph, roots, gradients, weights, together);
  draft.deferred.weights = weights;
  draft.deferred.ready.resize(weights.size());

  // One walk: input gradients, what arrives at every fork, and the weights that go with the inputs.
  edge_list wanted = inputs;
  for (const Edge& fork : draft.forks) {
    for (uint32_t slot = 0; slot < fork.function->num_inputs(); ++slot) wanted.emplace_back(fork.function, slot);
  }
  for (const size_t weight : together) wanted.push_back(weights[weight]);
  auto found = execute(roots, gradients, /*keepGraph=*/true, wanted);

  size_t at = inputs.size();
  for (size_t i = 0; i < draft.forks.size(); ++i) {
    const Edge& fork = draft.forks[i];
    for (uint32_t slot = 0; slot < fork.function->num_inputs(); ++slot, ++at) {
      if (!found[at].defined()) continue;
      draft.deferred.branches[i].roots.emplace_back(fork.function, slot);
      draft.deferred.branches[i].gradients.push_back(found[at]);
    }
  }
  for (const size_t weight : together) draft.deferred.ready[weight] = found[at++];
  found.resize(inputs.size());
  napi_value made = js::object(env);
  js::set(env, made, "gradients", gradientsToJs(env, std::move(found)));
  js::set(env, made, "deferred", js::number(env, waiting.add(std::move(draft.deferred))));
  return made;
}

// (deferred)
napi_value gradWeights(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  Environment::current().references->drain(env);
  DeferredWeights deferred = waiting.take(args.integer(0, "deferred"));
  for (auto& branch : deferred.branches) {
    edge_list wanted;
    for (const size_t weight : branch.weights) wanted.push_back(deferred.weights[weight]);
    auto found = execute(branch.roots, branch.gradients, /*keepGraph=*/false, wanted);
    for (size_t i = 0; i < found.size(); ++i) deferred.ready[branch.weights[i]] = std::move(found[i]);
    branch = {};
  }
  return gradientsToJs(env, std::move(deferred.ready));
}

napi_value dropDeferred(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  waiting.take(args.integer(0, "deferred"));
  return nullptr;
}

napi_value liveDeferred(napi_env env, napi_callback_info) {
  return js::number(env, static_cast<double>(waiting.byId.size()));
}

}  // namespace

void registerSplitBackward(napi_env env, napi_value exports) {
  // Graphs must not outlive the environment: libtorch is taken down after it.
  check(env, napi_add_env_cleanup_hook(env, [](void*) { waiting.byId.clear(); }, nullptr));
  js::expose<gradInputs>(env, exports, "gradInputs");
  js::expose<gradWeights>(env, exports, "gradWeights");
  js::expose<dropDeferred>(env, exports, "dropDeferred");
  js::expose<liveDeferred>(env, exports, "liveDeferred");
}

}  // namespace tierra
