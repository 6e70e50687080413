// tierra::parallel_cross_entropy: the loss of each token where every rank of a group holds other columns of the logits (Shoeybi
// et al. 2019). Three all-reduces of one number per token: largest logit, sum of exponentials, the target's logit. Backward needs
// none.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/error.h"
#include "dist/group.h"

namespace tierra::dist {

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kNoLoss = -100;

struct ParallelCrossEntropy : torch::autograd::Function<ParallelCrossEntropy> {
  // logits [M, columns], targets int64 [M]; this rank's first column is `first`.
  static Tensor forward(AutogradContext* context, const Tensor& logits, const Tensor& targets, int64_t first, int64_t group) {
    const auto ranks = findGroup(group);
    const Tensor wide = logits.scalar_type() == at::kDouble ? logits : logits.to(at::kFloat);
    const int64_t columns = logits.size(1);
    Tensor most = columns > 0 ? wide.amax(1) : at::full({logits.size(0)}, -INFINITY, wide.options());
    ranks->allReduce(most, Reduction::max)->wait();
    const Tensor shifted = wide - most.unsqueeze(1);
    const Tensor local = targets - first;
    const Tensor here = local.ge(0).logical_and(local.lt(columns)).logical_and(targets.ne(kNoLoss));
    const Tensor column = local.clamp(0, columns - 1).unsqueeze(1);
    Tensor target = at::where(here, shifted.gather(1, column).squeeze(1), at::zeros({}, wide.options()));
    Tensor probabilities = shifted.exp_();
    Tensor sum = probabilities.sum(1);
    const auto targetWork = ranks->allReduce(target, Reduction::sum);
    ranks->allReduce(sum, Reduction::sum)->wait();
    targetWork->wait();
    probabilities.div_(sum.unsqueeze(1));
    const Tensor counts = targets.ne(kNoLoss);
    context->save_for_backward({probabilities, column, here, counts});
    context->saved_data["type"] = static_cast<int64_t>(logits.scalar_type());
    return at::where(counts, sum.log() - target, at::zeros({}, wide.options()));
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor &probabilities = saved[0], &column = saved[1], &here = saved[2], &counts = saved[3];
    const Tensor gradient = gradients[0] * counts;
    Tensor made = probabilities * gradient.unsqueeze(1);
    made.scatter_add_(1, column, (-(gradient * here)).unsqueeze(1));
    return {made.to(static_cast<at::ScalarType>(context->saved_data["type"].toInt())), Tensor(), Tensor(), Tensor()};
  }
};

Tensor parallelCrossEntropy(const Tensor& logits, const Tensor& targets, int64_t first, int64_t group) {
  return ParallelCrossEntropy::apply(logits, targets, first, group);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tierra, library) {
  library.def("parallel_cross_entropy(Tensor logits, Tensor targets, int first, int group) -> Tensor");
}

TORCH_LIBRARY_IMPL(tierra, CompositeImplicitAutograd, library) {
  library.impl("parallel_cross_entropy", parallelCrossEntropy);
}

}  // namespace tierra::dist
