// tierra::attach_loss: x unchanged, and a loss of a layer's own that enters the backward pass where the layer does (as in
// Megatron-Core's mixture of experts). So it needs no way to the end of the model: not through units, stages or
// recomputation. Its gradient is what the main loss was given: 1, or the loss scale over the micro-batches.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <atomic>

namespace tierra {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

std::atomic<double> lossGradient{1};

struct AttachLoss : torch::autograd::Function<AttachLoss> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& loss) {
    TORCH_CHECK(loss.numel() == 1, "attach_loss: the loss has shape ", loss.sizes(), ", it must be one number");
    context->saved_data["shape"] = loss.sizes();
    context->saved_data["type"] = static_cast<int64_t>(loss.scalar_type());
    return x;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto type = static_cast<at::ScalarType>(context->saved_data["type"].toInt());
    const auto shape = context->saved_data["shape"].toIntVector();
    return {gradients[0], at::full(shape, lossGradient.load(), gradients[0].options().dtype(type))};
  }
};

at::Tensor attachLoss(const at::Tensor& x, const at::Tensor& loss) { return AttachLoss::apply(x, loss); }

// Returns what it was.
double setLossGradient(double gradient) { return lossGradient.exchange(gradient); }

}  // namespace

TORCH_LIBRARY_FRAGMENT(tierra, library) {
  library.def("attach_loss(Tensor x, Tensor loss) -> Tensor");
  library.def("set_attached_gradient(float gradient) -> float", setLossGradient);
}

TORCH_LIBRARY_IMPL(tierra, CompositeImplicitAutograd, library) { library.impl("attach_loss", attachLoss); }

}  // namespace tierra
