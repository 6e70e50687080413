#include "core/autograd.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/variable.h>

#include <unordered_map>
#include <unordered_set>

#include "core/environment.h"
#include "core/error.h"
#include "core/js.h"

namespace tierra {

namespace {

using torch::autograd::Node;

// Undefined where the array says null.
std::vector<at::Tensor> tensorsFrom(const js::Args& args, size_t index, const char* name) {
  napi_env env = args.env();
  const uint32_t length = js::arrayLength(env, args[index], name);
  std::vector<at::Tensor> out(length);
  for (uint32_t i = 0; i < length; ++i) {
    napi_value value = js::element(env, args[index], i);
    if (!js::isNullish(env, value)) out[i] = tensorOf(js::readNumber(env, value, name));
  }
  return out;
}

void requireAll(const std::vector<at::Tensor>& tensors, const char* name) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!tensors[i].defined()) fail("E_ARGUMENT", std::string(name) + "[" + std::to_string(i) + "] is null");
  }
}

napi_value setRequiresGrad(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  tensorOf(args.number(0, "tensor")).requires_grad_(args.flag(1, "on"));
  return nullptr;
}

napi_value detach(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return js::number(env, adopt(tensorOf(args.number(0, "tensor")).detach()));
}

napi_value cutGraph(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const double handle = args.number(0, "tensor");
  at::Tensor before = tensorOf(handle);
  at::Tensor leaf = before.detach().requires_grad_(true);
  const double made = adopt(std::move(before));
  tensorOf(handle) = std::move(leaf);
  return js::number(env, made);
}

// Leaves have no grad_fn: their place in the graph is the node that accumulates their gradient.
Node* nodeOf(const at::Tensor& tensor) { return torch::autograd::impl::gradient_edge(tensor).function.get(); }

napi_value reachableLeaves(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto roots = tensorsFrom(args, 0, "roots");
  const auto candidates = tensorsFrom(args, 1, "candidates");
  requireAll(roots, "roots");
  requireAll(candidates, "candidates");
  std::unordered_set<const c10::TensorImpl*> found;
  std::unordered_set<Node*> seen;
  std::vector<Node*> open;
  const auto visit = [&](Node* node) {
    if (node != nullptr && seen.insert(node).second) open.push_back(node);
  };
  for (const at::Tensor& root : roots) {
    if (!root.requires_grad()) continue;
    // A leaf's node may not exist yet, and then dies again at once: the leaf itself is enough.
    if (root.is_leaf()) {
      found.insert(root.unsafeGetTensorImpl());
    } else {
      visit(nodeOf(root));
    }
  }
  while (!open.empty()) {
    Node* node = open.back();
    open.pop_back();
    if (const auto* leaf = dynamic_cast<const torch::autograd::AccumulateGrad*>(node)) {
      found.insert(leaf->variable.unsafeGetTensorImpl());
    }
    for (const auto& edge : node->next_edges()) visit(edge.function.get());
  }
  std::vector<int64_t> positions;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (found.contains(candidates[i].unsafeGetTensorImpl())) positions.push_back(static_cast<int64_t>(i));
  }
  return js::numbers(env, positions);
}

napi_value grad(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  Environment::current().references->drain(env);
  const auto outputs = tensorsFrom(args, 0, "outputs");
  const auto inputs = tensorsFrom(args, 1, "inputs");
  const auto gradOutputs = tensorsFrom(args, 2, "gradOutputs");
  const bool retainGraph = args.flag(3, "retainGraph");
  requireAll(outputs, "outputs");
  requireAll(inputs, "inputs");
  if (gradOutputs.size() != outputs.size()) {
    fail("E_ARGUMENT", "grad() got " + std::to_string(outputs.size()) + " outputs and " +
                           std::to_string(gradOutputs.size()) + " gradients for them");
  }
  auto gradients = torch::autograd::grad(outputs, inputs, gradOutputs, retainGraph, /*create_graph=*/false,
                                         /*allow_unused=*/true);
  napi_value made = js::array(env, gradients.size());
  for (uint32_t i = 0; i < gradients.size(); ++i) {
    const bool defined = gradients[i].defined();
    js::setElement(env, made, i, defined ? js::number(env, adopt(std::move(gradients[i]))) : js::null(env));
  }
  return made;
}

}  // namespace

void registerAutograd(napi_env env, napi_value exports) {
  js::expose<setRequiresGrad>(env, exports, "setRequiresGrad");
  js::expose<detach>(env, exports, "detach");
  js::expose<cutGraph>(env, exports, "cutGraph");
  js::expose<reachableLeaves>(env, exports, "reachableLeaves");
  js::expose<grad>(env, exports, "grad");
}

}  // namespace tierra
