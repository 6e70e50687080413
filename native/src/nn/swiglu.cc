// tierra::swiglu: silu(gate) * up (Shazeer 2020). Composition and kernel as in rmsNorm.cc; the kernel keeps gate and up for
// backward and no third tensor.
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

at::Tensor plain(const at::Tensor& gate, const at::Tensor& up) { return at::mul(at::silu(gate), up); }

#ifdef TIERRA_CUDA

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool isFusable(const at::Tensor& gate, const at::Tensor& up) {
  return fused::hasVersion(gate) && gate.scalar_type() == up.scalar_type() && gate.device() == up.device() &&
         gate.sizes() == up.sizes() && gate.numel() > 0 && gate.numel() * gate.element_size() % 16 == 0;
}

void launchOver(const fused::Versions& kernels, const at::Tensor& x, const SwigluArguments& k) {
  const int64_t perBlock = kernelThreads * (16 / x.element_size());
  cuda::launch(kernels.of(x), fused::deviceOf(x), static_cast<unsigned>((k.count + perBlock - 1) / perBlock), &k);
}

/// Both packed.
at::Tensor forwardOf(const at::Tensor& gate, const at::Tensor& up) {
  static constexpr fused::Versions kernels{
      {"swiglu.cu", "swigluBFloat16"}, {"swiglu.cu", "swigluHalf"}, {"swiglu.cu", "swiglufloat"}};
  at::Tensor out = at::empty_like(gate);
  SwigluArguments k{};
  k.gate = gate.data_ptr();
  k.up = up.data_ptr();
  k.out = out.data_ptr();
  k.count = gate.numel();
  launchOver(kernels, gate, k);
  return out;
}

struct Swiglu : torch::autograd::Function<Swiglu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    at::AutoDispatchBelowADInplaceOrView below;
    const at::Tensor packedGate = fused::packed(gate), packedUp = fused::packed(up);
    context->save_for_backward({packedGate, packedUp});
    return forwardOf(packedGate, packedUp);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    static constexpr fused::Versions kernels{{"swiglu.cu", "swigluBackwardBFloat16"},
                                             {"swiglu.cu", "swigluBackwardHalf"},
                                             {"swiglu.cu", "swigluBackwardfloat"}};
    const variable_list saved = context->get_saved_variables();
    const at::Tensor gradient = fused::packed(gradients[0]);
    const at::Tensor gateGradient = at::empty_like(saved[0]), upGradient = at::empty_like(saved[1]);
    SwigluArguments k{};
    k.gate = saved[0].data_ptr();
    k.up = saved[1].data_ptr();
    k.gradient = gradient.data_ptr();
    k.gateGradient = gateGradient.data_ptr();
    k.upGradient = upGradient.data_ptr();
    k.count = gradient.numel();
    launchOver(kernels, gradient, k);
    return {gateGradient, upGradient};
  }
};

at::Tensor onDevice(const at::Tensor& gate, const at::Tensor& up) {
  return isFusable(gate, up) ? forwardOf(fused::packed(gate), fused::packed(up)) : plain(gate, up);
}

at::Tensor withGraph(const at::Tensor& gate, const at::Tensor& up) {
  return isFusable(gate, up) ? Swiglu::apply(gate, up) : plain(gate, up);
}

#endif

}  // namespace

TORCH_LIBRARY_FRAGMENT(tierra, library) { library.def("swiglu(Tensor gate, Tensor up) -> Tensor"); }

TORCH_LIBRARY_IMPL(tierra, CompositeImplicitAutograd, library) { library.impl("swiglu", plain); }

#ifdef TIERRA_CUDA
TORCH_LIBRARY_IMPL(tierra, CUDA, library) { library.impl("swiglu", onDevice); }
TORCH_LIBRARY_IMPL(tierra, AutogradCUDA, library) { library.impl("swiglu", withGraph); }
#endif

}  // namespace tierra
