// Collectives as operators with gradients, usable inside units: what goes out in forward comes back by the dual collective in
// backward (Shoeybi et al. 2019 for copy and reduce, Korthikanti et al. 2022 for gather and reduce-scatter along the sequence,
// Jacobs et al. 2023 for all-to-all between heads and sequence). `group` is a group's id.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/error.h"
#include "dist/group.h"
#include "dist/ring.h"

namespace tierra::dist {

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

int64_t wrapped(const Tensor& x, int64_t dim) {
  const int64_t at = dim < 0 ? dim + x.dim() : dim;
  if (at < 0 || at >= x.dim()) fail("E_ARGUMENT", "dimension " + std::to_string(dim) + " of a tensor of " + std::to_string(x.dim()) + " dimensions does not exist");
  return at;
}

Tensor summed(const Tensor& x, int64_t group) {
  Tensor sum = x.clone(at::MemoryFormat::Contiguous);
  findGroup(group)->allReduce(sum, Reduction::sum)->wait();
  return sum;
}

// [g, ...]: equal parts of x along `dim`, each contiguous.
Tensor partsOf(const Tensor& x, int64_t parts, int64_t dim, const Group& group) {
  if (x.size(dim) % parts != 0) {
    fail("E_ARGUMENT", "group \"" + group.name() + "\" cannot split dimension " + std::to_string(dim) + " of size " +
                           std::to_string(x.size(dim)) + " over " + std::to_string(parts) + " positions");
  }
  std::vector<int64_t> shape = x.sizes().vec();
  shape[dim] /= parts;
  shape.insert(shape.begin() + dim, parts);
  return x.reshape(shape).movedim(dim, 0).contiguous();
}

// The reverse: [g, ...] put side by side along `dim`.
Tensor joined(const Tensor& parts, int64_t dim) {
  std::vector<int64_t> shape = parts[0].sizes().vec();
  shape[dim] *= parts.size(0);
  return parts.movedim(0, dim).reshape(shape);
}

Tensor gathered(const Tensor& x, int64_t id, int64_t dim) {
  const auto group = findGroup(id);
  const Tensor own = x.contiguous();
  std::vector<int64_t> shape = own.sizes().vec();
  shape.insert(shape.begin(), group->size());
  const Tensor all = at::empty(shape, own.options());
  group->allGather(all, own)->wait();
  return joined(all, dim);
}

Tensor reduceScattered(const Tensor& x, int64_t id, int64_t dim) {
  const auto group = findGroup(id);
  const Tensor parts = partsOf(x, group->size(), dim, *group);
  const Tensor own = at::empty_like(parts[0]);
  group->reduceScatter(own, parts)->wait();
  return own;
}

Tensor ownPart(const Tensor& x, int64_t id, int64_t dim) {
  const auto group = findGroup(id);
  if (x.size(dim) % group->size() != 0) partsOf(x, group->size(), dim, *group);
  const int64_t part = x.size(dim) / group->size();
  return x.narrow(dim, part * group->rank(), part).contiguous();
}

Tensor swapped(const Tensor& x, int64_t id, int64_t scatterDim, int64_t gatherDim) {
  const auto group = findGroup(id);
  const Tensor mine = partsOf(x, group->size(), scatterDim, *group);
  const Tensor theirs = at::empty_like(mine);
  group->allToAll(theirs, mine, {}, {})->wait();
  return joined(theirs, gatherDim);
}

Tensor rowsSwapped(const Tensor& x, int64_t id, const std::vector<int64_t>& into, const std::vector<int64_t>& from) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape[0] = 0;
  for (const int64_t rows : into) shape[0] += rows;
  const Tensor theirs = at::empty(shape, x.options());
  findGroup(id)->allToAll(theirs, x.contiguous(), into, from)->wait();
  return theirs;
}

// Tags of shifts, above those that people use and below the group's own.
constexpr int kShiftTag = (1 << 30) - 1;

Tensor shifted(const Tensor& x, int64_t id, int64_t offset) {
  const auto group = findGroup(id);
  const int64_t size = group->size();
  const int64_t step = ((offset % size) + size) % size;
  if (step == 0) return x.clone();
  return Turn(*group, x.contiguous(), kShiftTag, static_cast<int>(step)).arrived();
}

struct CopyToGroup : torch::autograd::Function<CopyToGroup> {
  static Tensor forward(AutogradContext* context, const Tensor& x, int64_t group) {
    context->saved_data["group"] = group;
    return x;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {summed(gradients[0], context->saved_data["group"].toInt()), Tensor()};
  }
};

struct ReduceFromGroup : torch::autograd::Function<ReduceFromGroup> {
  static Tensor forward(AutogradContext*, const Tensor& x, int64_t group) { return summed(x, group); }
  static variable_list backward(AutogradContext*, variable_list gradients) { return {gradients[0], Tensor()}; }
};

struct SumInGroup : torch::autograd::Function<SumInGroup> {
  static Tensor forward(AutogradContext* context, const Tensor& x, int64_t group) {
    context->saved_data["group"] = group;
    return summed(x, group);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {summed(gradients[0], context->saved_data["group"].toInt()), Tensor()};
  }
};

struct GatherFromGroup : torch::autograd::Function<GatherFromGroup> {
  static Tensor forward(AutogradContext* context, const Tensor& x, int64_t group, int64_t dim, bool sumGradients) {
    context->saved_data["group"] = group;
    context->saved_data["dim"] = dim;
    context->saved_data["sum"] = sumGradients;
    return gathered(x, group, dim);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const int64_t group = context->saved_data["group"].toInt(), dim = context->saved_data["dim"].toInt();
    const bool sum = context->saved_data["sum"].toBool();
    return {sum ? reduceScattered(gradients[0], group, dim) : ownPart(gradients[0], group, dim), Tensor(), Tensor(), Tensor()};
  }
};

struct ScatterToGroup : torch::autograd::Function<ScatterToGroup> {
  static Tensor forward(AutogradContext* context, const Tensor& x, int64_t group, int64_t dim, bool reduce) {
    context->saved_data["group"] = group;
    context->saved_data["dim"] = dim;
    return reduce ? reduceScattered(x, group, dim) : ownPart(x, group, dim);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {gathered(gradients[0], context->saved_data["group"].toInt(), context->saved_data["dim"].toInt()), Tensor(), Tensor(),
            Tensor()};
  }
};

struct AllToAll : torch::autograd::Function<AllToAll> {
  static Tensor forward(AutogradContext* context, const Tensor& x, int64_t group, int64_t scatterDim, int64_t gatherDim) {
    context->saved_data["group"] = group;
    context->saved_data["scatter"] = scatterDim;
    context->saved_data["gather"] = gatherDim;
    return swapped(x, group, scatterDim, gatherDim);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {swapped(gradients[0], context->saved_data["group"].toInt(), context->saved_data["gather"].toInt(),
                    context->saved_data["scatter"].toInt()),
            Tensor(), Tensor(), Tensor()};
  }
};

struct AllToAllRows : torch::autograd::Function<AllToAllRows> {
  static Tensor forward(AutogradContext* context, const Tensor& x, int64_t group, std::vector<int64_t> into, std::vector<int64_t> from) {
    context->saved_data["group"] = group;
    context->saved_data["into"] = into;
    context->saved_data["from"] = from;
    return rowsSwapped(x, group, into, from);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {rowsSwapped(gradients[0], context->saved_data["group"].toInt(), context->saved_data["from"].toIntVector(),
                        context->saved_data["into"].toIntVector()),
            Tensor(), Tensor(), Tensor()};
  }
};

struct Shift : torch::autograd::Function<Shift> {
  static Tensor forward(AutogradContext* context, const Tensor& x, int64_t group, int64_t offset) {
    context->saved_data["group"] = group;
    context->saved_data["offset"] = offset;
    return shifted(x, group, offset);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {shifted(gradients[0], context->saved_data["group"].toInt(), -context->saved_data["offset"].toInt()), Tensor(), Tensor()};
  }
};

// A sum over ranks is on its way, and the bias belongs in it once; but every rank knows its whole gradient.
struct AddBiasOnce : torch::autograd::Function<AddBiasOnce> {
  static Tensor forward(AutogradContext*, const Tensor& x, const Tensor& bias, bool here) { return here ? x + bias : x; }
  static variable_list backward(AutogradContext*, variable_list gradients) {
    const Tensor& gradient = gradients[0];
    return {gradient, gradient.reshape({-1, gradient.size(-1)}).sum(0), Tensor()};
  }
};

Tensor copyToGroup(const Tensor& x, int64_t group) { return CopyToGroup::apply(x, group); }
Tensor reduceFromGroup(const Tensor& x, int64_t group) { return ReduceFromGroup::apply(x, group); }
Tensor sumInGroup(const Tensor& x, int64_t group) { return SumInGroup::apply(x, group); }
Tensor gatherFromGroup(const Tensor& x, int64_t group, int64_t dim, bool sumGradients) {
  return GatherFromGroup::apply(x, group, wrapped(x, dim), sumGradients);
}
Tensor scatterToGroup(const Tensor& x, int64_t group, int64_t dim) { return ScatterToGroup::apply(x, group, wrapped(x, dim), false); }
Tensor reduceScatterToGroup(const Tensor& x, int64_t group, int64_t dim) {
  return ScatterToGroup::apply(x, group, wrapped(x, dim), true);
}
Tensor allToAllInGroup(const Tensor& x, int64_t group, int64_t scatterDim, int64_t gatherDim) {
  return AllToAll::apply(x, group, wrapped(x, scatterDim), wrapped(x, gatherDim));
}
Tensor allToAllRows(const Tensor& x, int64_t group, at::IntArrayRef into, at::IntArrayRef from) {
  return AllToAllRows::apply(x, group, into.vec(), from.vec());
}
Tensor shiftInGroup(const Tensor& x, int64_t group, int64_t offset) { return Shift::apply(x, group, offset); }
Tensor addBiasOnce(const Tensor& x, const Tensor& bias, bool here) { return AddBiasOnce::apply(x, bias, here); }

Tensor maxInGroup(const Tensor& x, int64_t group) {
  Tensor most = x.detach().clone(at::MemoryFormat::Contiguous);
  findGroup(group)->allReduce(most, Reduction::max)->wait();
  return most;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tierra, library) {
  library.def("copy_to_group(Tensor x, int group) -> Tensor");
  library.def("reduce_from_group(Tensor x, int group) -> Tensor");
  library.def("sum_in_group(Tensor x, int group) -> Tensor");
  library.def("max_in_group(Tensor x, int group) -> Tensor");
  library.def("gather_from_group(Tensor x, int group, int dim, bool sum_gradients) -> Tensor");
  library.def("scatter_to_group(Tensor x, int group, int dim) -> Tensor");
  library.def("reduce_scatter_to_group(Tensor x, int group, int dim) -> Tensor");
  library.def("all_to_all_in_group(Tensor x, int group, int scatter_dim, int gather_dim) -> Tensor");
  library.def("all_to_all_rows(Tensor x, int group, int[] into, int[] from) -> Tensor");
  library.def("shift_in_group(Tensor x, int group, int offset) -> Tensor");
  library.def("add_bias_once(Tensor x, Tensor bias, bool here) -> Tensor");
}

TORCH_LIBRARY_IMPL(tierra, CompositeImplicitAutograd, library) {
  library.impl("copy_to_group", copyToGroup);
  library.impl("reduce_from_group", reduceFromGroup);
  library.impl("sum_in_group", sumInGroup);
  library.impl("max_in_group", maxInGroup);
  library.impl("gather_from_group", gatherFromGroup);
  library.impl("scatter_to_group", scatterToGroup);
  library.impl("reduce_scatter_to_group", reduceScatterToGroup);
  library.impl("all_to_all_in_group", allToAllInGroup);
  library.impl("all_to_all_rows", allToAllRows);
  library.impl("shift_in_group", shiftInGroup);
  library.impl("add_bias_once", addBiasOnce);
}

}  // namespace tierra::dist
