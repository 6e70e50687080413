// tierra::rms_norm: root-mean-square normalisation over the last dimension (Zhang & Sennrich 2019), in fp32, rounded to the
// input's type before the weight is applied. Everywhere but in the kernels' types on CUDA it is the composition `plain`,
// differentiated by libtorch.
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

at::Tensor plain(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  const at::Tensor wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  const at::Tensor meanSquare = at::mean(at::mul(wide, wide), at::OptionalIntArrayRef({-1}), true);
  const at::Tensor normal = at::mul(wide, at::rsqrt(at::add(meanSquare, epsilon)));
  return at::mul(weight, normal.to(x.scalar_type()));
}

#ifdef TIERRA_CUDA

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool isFusable(const at::Tensor& x, const at::Tensor& weight) {
  if (!fused::hasVersion(x) || weight.scalar_type() != x.scalar_type() || weight.device() != x.device()) return false;
  if (x.dim() < 1 || weight.dim() != 1 || weight.size(0) != x.size(-1) || x.numel() == 0) return false;
  const int64_t width = x.size(-1);
  return width <= widestRow && width * x.element_size() % 16 == 0;
}

unsigned rowsPerBlock(int64_t width) { return width <= narrowWidth ? kernelThreads / 32 : 1; }

RmsNormArguments argumentsFor(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& scales, double epsilon) {
  RmsNormArguments k{};
  k.x = x.data_ptr();
  k.weight = weight.data_ptr();
  k.scales = scales.data_ptr<float>();
  k.rows = x.numel() / x.size(-1);
  k.width = static_cast<int>(x.size(-1));
  k.epsilon = static_cast<float>(epsilon);
  return k;
}

struct Forward {
  at::Tensor out, scales;
};

/// `x` and `weight` are packed.
Forward forwardRows(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  static constexpr fused::Versions kernels{
      {"rmsNorm.cu", "rmsNormBFloat16"}, {"rmsNorm.cu", "rmsNormHalf"}, {"rmsNorm.cu", "rmsNormfloat"}};
  const int64_t rows = x.numel() / x.size(-1);
  Forward made{at::empty_like(x), at::empty({rows}, x.options().dtype(at::kFloat))};
  RmsNormArguments k = argumentsFor(x, weight, made.scales, epsilon);
  k.out = made.out.data_ptr();
  const int64_t perBlock = rowsPerBlock(k.width);
  cuda::launch(kernels.of(x), fused::deviceOf(x), static_cast<unsigned>((rows + perBlock - 1) / perBlock), &k);
  return made;
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, double epsilon) {
    at::AutoDispatchBelowADInplaceOrView below;
    const at::Tensor packedX = fused::packed(x), packedWeight = fused::packed(weight);
    const Forward made = forwardRows(packedX, packedWeight, epsilon);
    // The parameter itself, not a copy of it: its bytes may go and come back before backward.
    context->save_for_backward({packedX, weight, made.scales});
    return made.out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    static constexpr fused::Versions kernels{{"rmsNorm.cu", "rmsNormBackwardBFloat16"},
                                             {"rmsNorm.cu", "rmsNormBackwardHalf"},
                                             {"rmsNorm.cu", "rmsNormBackwardfloat"}};
    static constexpr fused::Versions sums{{"rmsNorm.cu", "rmsNormWeightGradientBFloat16"},
                                          {"rmsNorm.cu", "rmsNormWeightGradientHalf"},
                                          {"rmsNorm.cu", "rmsNormWeightGradientfloat"}};
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], weight = fused::packed(saved[1]), gradient = fused::packed(gradients[0]);
    const at::Tensor xGradient = at::empty_like(x), weightGradient = at::empty_like(weight);
    RmsNormArguments k = argumentsFor(x, weight, saved[2], 0);
    const int perBlock = static_cast<int>(rowsPerBlock(k.width));
    const int blocks = static_cast<int>(std::min<int64_t>((k.rows + perBlock - 1) / perBlock, normBackwardBlocks));
    k.parts = blocks * perBlock;
    const at::Tensor partial = at::empty({k.parts, k.width}, x.options().dtype(at::kFloat));
    k.gradient = gradient.data_ptr();
    k.xGradient = xGradient.data_ptr();
    k.partial = partial.data_ptr<float>();
    k.weightGradient = weightGradient.data_ptr();
    const unsigned sharedBytes = static_cast<unsigned>(perBlock * k.width * static_cast<int>(sizeof(float)));
    cuda::launch(kernels.of(x), fused::deviceOf(x), static_cast<unsigned>(blocks), &k, sharedBytes);
    cuda::launch(sums.of(x), fused::deviceOf(x), static_cast<unsigned>((k.width + 31) / 32), &k);
    return {xGradient, weightGradient, at::Tensor()};
  }
};

at::Tensor onDevice(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (!isFusable(x, weight)) return plain(x, weight, epsilon);
  return forwardRows(fused::packed(x), fused::packed(weight), epsilon).out;
}

at::Tensor withGraph(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return isFusable(x, weight) ? RmsNorm::apply(x, weight, epsilon) : plain(x, weight, epsilon);
}

#endif

}  // namespace

TORCH_LIBRARY_FRAGMENT(tierra, library) {
  library.def("rms_norm(Tensor x, Tensor weight, float epsilon) -> Tensor");
}

TORCH_LIBRARY_IMPL(tierra, CompositeImplicitAutograd, library) { library.impl("rms_norm", plain); }

#ifdef TIERRA_CUDA
TORCH_LIBRARY_IMPL(tierra, CUDA, library) { library.impl("rms_norm", onDevice); }
TORCH_LIBRARY_IMPL(tierra, AutogradCUDA, library) { library.impl("rms_norm", withGraph); }
#endif

}  // namespace tierra
