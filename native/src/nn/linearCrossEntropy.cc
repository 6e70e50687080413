// tierra::linear_cross_entropy: the language-model loss without the logits.
//
// Forward goes over the rows in chunks, keeps one log-sum-exp per row and forgets the logits; backward makes each
// chunk's logits again. Peak extra memory: one chunk of logits in fp32 and its gradient. Softmax arithmetic is fp32 (fp64 for fp64
// inputs); the gradient of the weight is summed over chunks in the same type, ascending. On a GPU products write fp32 themselves, the
// softmax is one pass forward and one backward (crossEntropy.cu), and the weight's gradient is summed inside the products.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "nn/fused.h"

#ifdef TIERRA_CUDA
#include "fusedArguments.h"
#include "kernelArguments.h"
#endif

namespace tierra {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kIgnored = -100;

at::ScalarType wideType(const at::Tensor& hidden) {
  return hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// What is done with the rows of one chunk.
struct Chunk {
  at::Tensor hidden;
  at::Tensor labels;
  at::Tensor logSum;
};

at::Tensor targetsOf(const at::Tensor& labels) { return labels.masked_fill(labels.eq(kIgnored), 0).unsqueeze(1); }

namespace plain {

at::Tensor logits(const at::Tensor& rows, const at::Tensor& weight) {
  return at::mm(rows, weight.t()).to(wideType(rows));
}

/// Fills `chunk.logSum`, and the labels' logits.
void forward(const Chunk& chunk, const at::Tensor& weight, at::Tensor picked) {
  const at::Tensor found = logits(chunk.hidden, weight);
  at::Tensor(chunk.logSum).copy_(found.logsumexp(1));
  picked.copy_(found.gather(1, targetsOf(chunk.labels)).squeeze(1));
}

/// The gradient of the logits, in the type of `hidden`.
at::Tensor gradient(const Chunk& chunk, const at::Tensor& weight, const at::Tensor& factor) {
  at::Tensor found = logits(chunk.hidden, weight);
  found.sub_(chunk.logSum.unsqueeze(1)).exp_();
  const at::Tensor minusOne = at::full({1, 1}, -1, found.options());
  found.scatter_add_(1, targetsOf(chunk.labels), minusOne.expand({found.size(0), 1}));
  found.mul_(at::where(chunk.labels.ne(kIgnored), factor, at::zeros_like(factor)).unsqueeze(1));
  return found.to(chunk.hidden.scalar_type());
}

void addProduct(at::Tensor& sum, const at::Tensor& gradient, const at::Tensor& hidden) {
  const at::Tensor part = at::mm(gradient.t(), hidden).to(wideType(hidden));
  if (sum.defined()) {
    sum.add_(part);
  } else {
    sum = part;
  }
}

}  // namespace plain

#ifdef TIERRA_CUDA

namespace gpu {

/// [rows, columns] of rows that begin at 16-byte boundaries, whatever the vocabulary: products are several times as fast.
at::Tensor padded(const at::Tensor& like, at::ScalarType type, int64_t columns) {
  const int64_t stride = (columns + 63) / 64 * 64;
  return at::empty({like.size(0), stride}, like.options().dtype(type)).narrow(1, 0, columns);
}

at::Tensor logits(const at::Tensor& rows, const at::Tensor& weight) {
  at::Tensor out = padded(rows, at::kFloat, weight.size(0));
  if (rows.scalar_type() == at::kFloat) {
    at::mm_out(out, rows, weight.t());
  } else {
    at::mm_out(out, rows, weight.t(), at::kFloat);
  }
  return out;
}

CrossEntropyArguments argumentsFor(const Chunk& chunk, const at::Tensor& logits) {
  CrossEntropyArguments k{};
  k.logits = logits.data_ptr<float>();
  k.labels = reinterpret_cast<const long long*>(chunk.labels.data_ptr<int64_t>());
  k.logSums = chunk.logSum.data_ptr<float>();
  k.stride = logits.stride(0);
  k.vocabulary = static_cast<int>(logits.size(1));
  return k;
}

void forward(const Chunk& chunk, const at::Tensor& weight, const at::Tensor& picked) {
  static constexpr cuda::Kernel kernel{"crossEntropy.cu", "crossEntropy"};
  const at::Tensor found = logits(chunk.hidden, weight);
  CrossEntropyArguments k = argumentsFor(chunk, found);
  k.picked = picked.data_ptr<float>();
  cuda::launch(kernel, fused::deviceOf(found), static_cast<unsigned>(found.size(0)), &k);
}

at::Tensor gradient(const Chunk& chunk, const at::Tensor& weight, const at::Tensor& factor) {
  static constexpr fused::Versions kernels{{"crossEntropy.cu", "crossEntropyBackwardBFloat16"},
                                           {"crossEntropy.cu", "crossEntropyBackwardHalf"},
                                           {"crossEntropy.cu", "crossEntropyBackwardfloat"}};
  const at::Tensor found = logits(chunk.hidden, weight);
  const at::Tensor out = padded(found, chunk.hidden.scalar_type(), found.size(1));
  CrossEntropyArguments k = argumentsFor(chunk, found);
  k.factor = factor.data_ptr<float>();
  k.gradient = out.data_ptr();
  cuda::launch(kernels.of(out), fused::deviceOf(found), static_cast<unsigned>(found.size(0)), &k);
  return out;
}

void addProduct(at::Tensor& sum, const at::Tensor& gradient, const at::Tensor& hidden) {
  if (hidden.scalar_type() == at::kFloat) return plain::addProduct(sum, gradient, hidden);
  if (sum.defined()) {
    at::addmm_out(sum, sum, gradient.t(), hidden, at::kFloat);
  } else {
    sum = at::mm(gradient.t(), hidden, at::kFloat);
  }
}

bool has(const at::Tensor& hidden, const at::Tensor& weight) {
  return fused::hasVersion(hidden) && weight.device() == hidden.device() && weight.scalar_type() == hidden.scalar_type();
}

}  // namespace gpu

#endif

void takeForward(const Chunk& chunk, const at::Tensor& weight, const at::Tensor& picked) {
#ifdef TIERRA_CUDA
  if (gpu::has(chunk.hidden, weight)) return gpu::forward(chunk, weight, picked);
#endif
  plain::forward(chunk, weight, picked);
}

at::Tensor gradientOf(const Chunk& chunk, const at::Tensor& weight, const at::Tensor& factor) {
#ifdef TIERRA_CUDA
  if (gpu::has(chunk.hidden, weight)) return gpu::gradient(chunk, weight, factor);
#endif
  return plain::gradient(chunk, weight, factor);
}

void addProduct(at::Tensor& sum, const at::Tensor& gradient, const at::Tensor& hidden) {
#ifdef TIERRA_CUDA
  if (fused::hasVersion(hidden)) return gpu::addProduct(sum, gradient, hidden);
#endif
  plain::addProduct(sum, gradient, hidden);
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
  const at::Tensor packedLabels = labels.contiguous();
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t length = std::min(chunk, rows - begin);
    const auto part = [&](const at::Tensor& whole) { return whole.narrow(0, begin, length); };
    takeForward({part(hidden), part(packedLabels), part(logSum)}, weight, part(picked));
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
    const at::Tensor &hidden = saved[0], &weight = saved[1], &logSum = saved[3];
    const at::Tensor labels = saved[2].contiguous();
    const int64_t chunk = context->saved_data["chunk"].toInt();
    const int64_t rows = hidden.size(0);
    at::Tensor factor = gradients[0] / saved[4];
    at::Tensor hiddenGradient = at::empty_like(hidden);
    at::Tensor weightGradient;
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      const int64_t length = std::min(chunk, rows - begin);
      const auto part = [&](const at::Tensor& whole) { return whole.narrow(0, begin, length); };
      const Chunk here{part(hidden), part(labels), part(logSum)};
      const at::Tensor gradient = gradientOf(here, weight, factor);
      at::Tensor hiddenPart = part(hiddenGradient);
      at::mm_out(hiddenPart, gradient, weight);
      addProduct(weightGradient, gradient, here.hidden);
    }
    return {hiddenGradient, weightGradient.to(weight.scalar_type()), at::Tensor(), at::Tensor()};
  }
};

at::Tensor withGraph(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels, int64_t chunk) {
  return LinearCrossEntropy::apply(hidden, weight, labels, chunk);
}

at::Tensor withoutGraph(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels, int64_t chunk) {
  return forwardRows(hidden, weight, labels, chunk).loss;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tierra, library) {
  library.def("linear_cross_entropy(Tensor hidden, Tensor weight, Tensor labels, int chunk) -> Tensor");
}

TORCH_LIBRARY_IMPL(tierra, CompositeExplicitAutograd, library) {
  library.impl("linear_cross_entropy", withoutGraph);
}

TORCH_LIBRARY_IMPL(tierra, Autograd, library) { library.impl("linear_cross_entropy", withGraph); }

}  // namespace tierra
