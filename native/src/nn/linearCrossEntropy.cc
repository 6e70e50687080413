// tierra::linear_cross_entropy: the language-model loss without the logits.
//
// Forward goes over the rows in chunks, keeps one log-sum-exp per row and forgets the logits; backward makes each
// chunk's logits again. Peak extra memory: one chunk of logits in fp32. Softmax arithmetic is fp32 (fp64 for fp64
// inputs); the gradient of the weight is summed over chunks in the same type, ascending.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

namespace tierra {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kIgnored = -100;

at::ScalarType wideType(const at::Tensor& hidden) {
  return hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor wideLogits(const at::Tensor& rows, const at::Tensor& weight) {
  return at::mm(rows, weight.t()).to(wideType(rows));
}

void checkInputs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels, int64_t chunk) {
  TORCH_CHECK(hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1),
              "linear_cross_entropy: hidden ", hidden.sizes(), " and weight ", weight.sizes(),
              " must be [rows, width] and [vocabulary, width]");
  TORCH_CHECK(labels.dim() == 1 && labels.size(0) == hidden.size(0) && labels.scalar_type() == at::kLong,
              "linear_cross_entropy: labels must be int64 [", hidden.size(0), "], got ", labels.sizes());
  TORCH_CHECK(chunk > 0, "linear_cross_entropy: chunk must be positive, got ", chunk);
}

struct Forward {
  at::Tensor loss;    // scalar, mean over the rows that count
  at::Tensor logSum;  // [rows]
  at::Tensor count;   // scalar: rows that count
};

Forward forwardRows(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels, int64_t chunk) {
  checkInputs(hidden, weight, labels, chunk);
  const int64_t rows = hidden.size(0);
  at::Tensor logSum = at::empty({rows}, hidden.options().dtype(wideType(hidden)));
  at::Tensor picked = at::empty_like(logSum);
  at::Tensor targets = labels.masked_fill(labels.eq(kIgnored), 0).unsqueeze(1);
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t length = std::min(chunk, rows - begin);
    at::Tensor logits = wideLogits(hidden.narrow(0, begin, length), weight);
    logSum.narrow(0, begin, length).copy_(logits.logsumexp(1));
    picked.narrow(0, begin, length).copy_(logits.gather(1, targets.narrow(0, begin, length)).squeeze(1));
  }
  at::Tensor counts = labels.ne(kIgnored);
  at::Tensor count = counts.sum().to(wideType(hidden));
  at::Tensor loss = at::where(counts, logSum - picked, at::zeros({}, logSum.options())).sum() / count;
  return {loss, logSum, count};
}

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight,
                            const at::Tensor& labels, int64_t chunk) {
    at::AutoDispatchBelowADInplaceOrView below;
    Forward result = forwardRows(hidden, weight, labels, chunk);
    context->save_for_backward({hidden, weight, labels, result.logSum, result.count});
    context->saved_data["chunk"] = chunk;
    return result.loss;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    variable_list saved = context->get_saved_variables();
    const at::Tensor &hidden = saved[0], &weight = saved[1], &labels = saved[2], &logSum = saved[3];
    const int64_t chunk = context->saved_data["chunk"].toInt();
    const int64_t rows = hidden.size(0);
    at::Tensor factor = gradients[0] / saved[4];
    at::Tensor rowFactors = at::where(labels.ne(kIgnored), factor, at::zeros_like(factor)).unsqueeze(1);
    at::Tensor targets = labels.masked_fill(labels.eq(kIgnored), 0).unsqueeze(1);
    at::Tensor hiddenGradient = at::empty_like(hidden);
    at::Tensor weightGradient;
    at::Tensor minusOne = at::full({1, 1}, -1, logSum.options());
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      const int64_t length = std::min(chunk, rows - begin);
      at::Tensor slice = hidden.narrow(0, begin, length);
      at::Tensor logits = wideLogits(slice, weight);
      logits.sub_(logSum.narrow(0, begin, length).unsqueeze(1)).exp_();
      logits.scatter_add_(1, targets.narrow(0, begin, length), minusOne.expand({length, 1}));
      logits.mul_(rowFactors.narrow(0, begin, length));
      at::Tensor narrow = logits.to(hidden.scalar_type());
      at::Tensor hiddenSlice = hiddenGradient.narrow(0, begin, length);
      at::mm_out(hiddenSlice, narrow, weight);
      at::Tensor part = at::mm(narrow.t(), slice).to(logSum.scalar_type());
      if (weightGradient.defined()) {
        weightGradient.add_(part);
      } else {
        weightGradient = part;
      }
    }
    return {hiddenGradient, weightGradient.to(weight.scalar_type()), at::Tensor(), at::Tensor()};
  }
};

at::Tensor withGraph(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels, int64_t chunk) {
  return LinearCrossEntropy::apply(hidden, weight, labels, chunk);
}

at::Tensor plain(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels, int64_t chunk) {
  return forwardRows(hidden, weight, labels, chunk).loss;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tierra, library) {
  library.def("linear_cross_entropy(Tensor hidden, Tensor weight, Tensor labels, int chunk) -> Tensor");
}

TORCH_LIBRARY_IMPL(tierra, CompositeExplicitAutograd, library) {
  library.impl("linear_cross_entropy", plain);
}

TORCH_LIBRARY_IMPL(tierra, Autograd, library) { library.impl("linear_cross_entropy", withGraph); }

}  // namespace tierra
