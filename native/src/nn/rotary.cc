// tierra::rotary: rotary positions (Su et al. 2021), half-split: x * cos + [-x2, x1] * sin with x `[batch, heads, length, size]`
// and tables `[length, size]`, which get no gradient. Composition and kernel as in rmsNorm.cc.
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

at::Tensor plain(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t half = x.size(3) / 2;
  const at::Tensor rotated = at::cat({at::neg(at::slice(x, 3, half, 2 * half)), at::slice(x, 3, 0, half)}, 3);
  return at::add(at::mul(x, cos), at::mul(rotated, sin));
}

#ifdef TIERRA_CUDA

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool isTable(const at::Tensor& table, const at::Tensor& x) {
  return table.dim() == 2 && table.size(0) == x.size(2) && table.size(1) == x.size(3) && table.is_contiguous() &&
         table.scalar_type() == x.scalar_type() && table.device() == x.device() && fused::isAligned(table);
}

bool isFusable(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return fused::hasVersion(x) && x.dim() == 4 && x.numel() > 0 && x.size(3) % 8 == 0 && isTable(cos, x) && isTable(sin, x);
}

/// Rows that begin at a multiple of four elements, each contiguous: what the kernel asks of x.
at::Tensor withRows(const at::Tensor& x) {
  requireBytes(x, "rotary");
  bool fits = fused::isAligned(x) && x.stride(3) == 1;
  for (int dim = 0; dim < 3; ++dim) fits = fits && x.stride(dim) % 4 == 0;
  return fits ? x : fused::packed(x);
}

at::Tensor rotate(const at::Tensor& given, const at::Tensor& cos, const at::Tensor& sin, bool backward) {
  static constexpr fused::Versions forwardKernels{
      {"rotary.cu", "rotaryBFloat16"}, {"rotary.cu", "rotaryHalf"}, {"rotary.cu", "rotaryfloat"}};
  static constexpr fused::Versions backwardKernels{
      {"rotary.cu", "rotaryBackwardBFloat16"}, {"rotary.cu", "rotaryBackwardHalf"}, {"rotary.cu", "rotaryBackwardfloat"}};
  const at::Tensor x = withRows(given);
  at::Tensor out = at::empty_like(x);
  if (out.stride(3) != 1) out = at::empty_like(x, at::MemoryFormat::Contiguous);
  RotaryArguments k{};
  k.x = x.data_ptr();
  k.out = out.data_ptr();
  k.cos = cos.data_ptr();
  k.sin = sin.data_ptr();
  k.heads = static_cast<int>(x.size(1));
  k.length = static_cast<int>(x.size(2));
  k.half = static_cast<int>(x.size(3) / 2);
  k.items = x.size(0) * x.size(1) * x.size(2) * (k.half / 4);
  for (int dim = 0; dim < 3; ++dim) {
    k.xStrides[dim] = x.stride(dim);
    k.outStrides[dim] = out.stride(dim);
  }
  cuda::launch((backward ? backwardKernels : forwardKernels).of(x), fused::deviceOf(x),
               static_cast<unsigned>((k.items + kernelThreads - 1) / kernelThreads), &k);
  return out;
}

struct Rotary : torch::autograd::Function<Rotary> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
    at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({cos, sin});
    return rotate(x, cos, sin, false);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    return {rotate(gradients[0], saved[0], saved[1], true), at::Tensor(), at::Tensor()};
  }
};

at::Tensor onDevice(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return isFusable(x, cos, sin) ? rotate(x, cos, sin, false) : plain(x, cos, sin);
}

at::Tensor withGraph(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return isFusable(x, cos, sin) ? Rotary::apply(x, cos, sin) : plain(x, cos, sin);
}

#endif

}  // namespace

TORCH_LIBRARY_FRAGMENT(tierra, library) { library.def("rotary(Tensor x, Tensor cos, Tensor sin) -> Tensor"); }

TORCH_LIBRARY_IMPL(tierra, CompositeImplicitAutograd, library) { library.impl("rotary", plain); }

#ifdef TIERRA_CUDA
TORCH_LIBRARY_IMPL(tierra, CUDA, library) { library.impl("rotary", onDevice); }
TORCH_LIBRARY_IMPL(tierra, AutogradCUDA, library) { library.impl("rotary", withGraph); }
#endif

}  // namespace tierra
