// The two products of ring self-attention (Li et al. 2021): a rank has its tokens' queries, and the keys or values of all
// ranks come by. Forward: one ring. Backward: the ring again for the gradient of queries or weights, and a reduce-scatter of
// the gradients of keys or values. Of n heads k have keys and values (Ainslie et al. 2023).
//
// Shapes: q [b, h, t, d], k and v [b, k, t, d], scores and weights [b, h, t, p * t] with keys in rank order.
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/error.h"
#include "dist/ring.h"

namespace tierra::dist {

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Calls `use(block, owner)` for the block of every rank, the own one first.
template <typename Use>
void aroundRing(Group& group, const Tensor& own, Use&& use) {
  Tensor block = own.contiguous();
  for (int64_t step = 0; step < group.size(); ++step) {
    std::optional<Turn> turn;
    if (step + 1 < group.size()) turn.emplace(group, block, kBlockTag);
    use(block, ownerAfter(group, step));
    if (turn) block = turn->arrived();
  }
}

// The part of each rank, of [p, ...] that every rank has a summand of.
Tensor summedParts(Group& group, const Tensor& parts) {
  Tensor own = at::empty_like(parts[0]);
  group.reduceScatter(own, parts.contiguous())->wait();
  return own;
}

// x [b, h, t, d] times the transposed block of every rank: [b, h, t, p * t].
Tensor scoresOf(const Tensor& x, const Tensor& blocks, Group& group) {
  const int64_t length = blocks.size(2), heads = blocks.size(1);
  Tensor scores = at::empty({x.size(0), x.size(1), x.size(2), length * group.size()}, x.options());
  const Tensor rows = byKeyHead(x, heads);
  aroundRing(group, blocks, [&](const Tensor& block, int64_t owner) {
    scores.narrow(3, owner * length, length).copy_(at::matmul(rows, block.transpose(2, 3)).view({x.size(0), x.size(1), x.size(2), length}));
  });
  return scores;
}

// weights [b, h, t, p * t] times the block of every rank: [b, h, t, d].
Tensor mixOf(const Tensor& weights, const Tensor& blocks, Group& group) {
  const int64_t length = blocks.size(2), heads = blocks.size(1);
  Tensor sum = at::zeros({weights.size(0), weights.size(1), weights.size(2), blocks.size(3)}, weights.options().dtype(wideTypeOf(weights)));
  aroundRing(group, blocks, [&](const Tensor& block, int64_t owner) {
    sum.add_(at::matmul(byKeyHead(weights.narrow(3, owner * length, length), heads), block).view(sum.sizes()));
  });
  return sum.to(weights.scalar_type());
}

// Of keys from scores and queries, of values from weights and outputs: columnsᵀ x rows, the own block of the sum over ranks.
Tensor blockGradient(const Tensor& columns, const Tensor& rows, int64_t heads, Group& group) {
  const int64_t size = group.size(), length = columns.size(3) / size;
  const Tensor right = byKeyHead(rows, heads);
  Tensor parts = at::empty({size, rows.size(0), heads, length, rows.size(3)}, rows.options());
  for (int64_t owner = 0; owner < size; ++owner) {
    parts[owner].copy_(at::matmul(byKeyHead(columns.narrow(3, owner * length, length), heads).transpose(2, 3), right));
  }
  return summedParts(group, parts);
}

void checkBlocks(const char* what, const Tensor& x, const Tensor& blocks, int64_t width, const Group& group) {
  if (x.dim() == 4 && blocks.dim() == 4 && x.size(0) == blocks.size(0) && x.size(2) == blocks.size(2) && blocks.size(1) > 0 &&
      x.size(1) % blocks.size(1) == 0 && x.size(3) == width && x.scalar_type() == blocks.scalar_type()) {
    return;
  }
  fail("E_ARGUMENT", std::string(what) + " in group \"" + group.name() + "\": " + c10::str(x.sizes()) + " and " + c10::str(blocks.sizes()) +
                         " are not [b, h, t, n] and [b, k, t, d] with h a multiple of k");
}

struct RingScores : torch::autograd::Function<RingScores> {
  static Tensor forward(AutogradContext* context, const Tensor& query, const Tensor& key, int64_t id) {
    const auto group = findGroup(id);
    checkBlocks("ring_scores", query, key, key.size(3), *group);
    context->save_for_backward({query, key});
    context->saved_data["group"] = id;
    return scoresOf(query, key, *group);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto group = findGroup(context->saved_data["group"].toInt());
    const variable_list saved = context->get_saved_variables();
    const Tensor queryGradient = mixOf(gradients[0], saved[1], *group);
    return {queryGradient, blockGradient(gradients[0], saved[0], saved[1].size(1), *group), Tensor()};
  }
};

struct RingMix : torch::autograd::Function<RingMix> {
  static Tensor forward(AutogradContext* context, const Tensor& weights, const Tensor& value, int64_t id) {
    const auto group = findGroup(id);
    checkBlocks("ring_mix", weights, value, value.size(2) * group->size(), *group);
    context->save_for_backward({weights, value});
    context->saved_data["group"] = id;
    return mixOf(weights, value, *group);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto group = findGroup(context->saved_data["group"].toInt());
    const variable_list saved = context->get_saved_variables();
    const Tensor weightGradient = scoresOf(gradients[0], saved[1], *group);
    return {weightGradient, blockGradient(saved[0], gradients[0], saved[1].size(1), *group), Tensor()};
  }
};

Tensor ringScores(const Tensor& query, const Tensor& key, int64_t group) { return RingScores::apply(query, key, group); }
Tensor ringMix(const Tensor& weights, const Tensor& value, int64_t group) { return RingMix::apply(weights, value, group); }

}  // namespace

TORCH_LIBRARY_FRAGMENT(tierra, library) {
  library.def("ring_scores(Tensor query, Tensor key, int group) -> Tensor");
  library.def("ring_mix(Tensor weights, Tensor value, int group) -> Tensor");
}

TORCH_LIBRARY_IMPL(tierra, CompositeImplicitAutograd, library) {
  library.impl("ring_scores", ringScores);
  library.impl("ring_mix", ringMix);
}

}  // namespace tierra::dist
