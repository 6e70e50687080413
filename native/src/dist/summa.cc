// SUMMA (van de Geijn & Watts 1997; Xu et al. 2021 for training): products of matrices cut into q x q blocks, block (i, j) on
// the rank in row i and column j of a square. Two panels per operand: the next one travels while this one is multiplied.
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

// A rank's place: its row's group (its position there is the column) and its column's group.
struct Square {
  std::shared_ptr<Group> row, column;
  Square(int64_t rowId, int64_t columnId)
      : row(findGroup(rowId)), column(findGroup(columnId)) {
    if (row->size() != column->size()) {
      fail("E_ARGUMENT", "SUMMA needs a square: \"" + row->name() + "\" has " + std::to_string(row->size()) + " ranks, \"" +
                             column->name() + "\" " + std::to_string(column->size()));
    }
  }
  int edge() const { return row->size(); }
};

struct Panel {
  Tensor block;
  WorkPtr work;
  const Tensor& ready() {
    work->wait();
    return block;
  }
};

Panel spread(Group& group, const Tensor& own, int root) {
  const Tensor block = group.rank() == root ? own : at::empty(own.sizes(), own.options());
  return {block, group.broadcast(block, root)};
}

// Blocks of one operand have one shape, so every rank's own tells it those of the others.
// C(i, j) = sum over t of A(i, t) B(t, j).
Tensor productAB(const Tensor& a, const Tensor& b, const Square& square) {
  const Tensor c = at::zeros({a.size(0), b.size(1)}, a.options());
  Panel left = spread(*square.row, a, 0), right = spread(*square.column, b, 0);
  for (int t = 0; t < square.edge(); ++t) {
    Panel leftNow = std::move(left), rightNow = std::move(right);
    if (t + 1 < square.edge()) {
      left = spread(*square.row, a, t + 1);
      right = spread(*square.column, b, t + 1);
    }
    c.addmm_(leftNow.ready(), rightNow.ready());
  }
  return c;
}

// Each position's block of `own` comes by along `from`; what `product` makes of it is summed along `into`, where the position of
// the same number keeps it. A sum travels while the next block is multiplied.
template <typename Product>
Tensor collectedProducts(Group& from, const Tensor& own, Group& into, Product&& product) {
  Tensor kept;
  WorkPtr before;
  Panel next = spread(from, own, 0);
  for (int t = 0; t < from.size(); ++t) {
    Panel now = std::move(next);
    if (t + 1 < from.size()) next = spread(from, own, t + 1);
    const Tensor partial = product(now.ready());
    if (before) before->wait();
    before = into.reduce(partial, t);
    if (into.rank() == t) kept = partial;
  }
  before->wait();
  return kept;
}

// C(i, t) = sum over j of A(i, j) B(t, j)^T.
Tensor productABt(const Tensor& a, const Tensor& b, const Square& square) {
  return collectedProducts(*square.column, b, *square.row, [&](const Tensor& block) { return a.mm(block.t()); });
}

// C(t, j) = sum over i of A(i, t)^T B(i, j).
Tensor productAtB(const Tensor& a, const Tensor& b, const Square& square) {
  return collectedProducts(*square.row, a, *square.column, [&](const Tensor& block) { return block.t().mm(b); });
}

void remember(AutogradContext* context, const Tensor& a, const Tensor& b, int64_t row, int64_t column) {
  context->save_for_backward({a, b});
  context->saved_data["row"] = row;
  context->saved_data["column"] = column;
}

Square squareOf(AutogradContext* context) { return {context->saved_data["row"].toInt(), context->saved_data["column"].toInt()}; }

struct SummaAB : torch::autograd::Function<SummaAB> {
  static Tensor forward(AutogradContext* context, const Tensor& a, const Tensor& b, int64_t row, int64_t column) {
    remember(context, a, b, row, column);
    return productAB(a.contiguous(), b.contiguous(), {row, column});
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor a = saved[0].contiguous(), b = saved[1].contiguous(), c = gradients[0].contiguous();
    const Square square = squareOf(context);
    Tensor left, right;
    if (context->needs_input_grad(0)) left = productABt(c, b, square);
    if (context->needs_input_grad(1)) right = productAtB(a, c, square);
    return {left, right, Tensor(), Tensor()};
  }
};

struct SummaABt : torch::autograd::Function<SummaABt> {
  static Tensor forward(AutogradContext* context, const Tensor& a, const Tensor& b, int64_t row, int64_t column) {
    remember(context, a, b, row, column);
    return productABt(a.contiguous(), b.contiguous(), {row, column});
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor a = saved[0].contiguous(), b = saved[1].contiguous(), c = gradients[0].contiguous();
    const Square square = squareOf(context);
    Tensor left, right;
    if (context->needs_input_grad(0)) left = productAB(c, b, square);
    if (context->needs_input_grad(1)) right = productAtB(c, a, square);
    return {left, right, Tensor(), Tensor()};
  }
};

Tensor summaAB(const Tensor& a, const Tensor& b, int64_t row, int64_t column) { return SummaAB::apply(a, b, row, column); }
Tensor summaABt(const Tensor& a, const Tensor& b, int64_t row, int64_t column) { return SummaABt::apply(a, b, row, column); }

}  // namespace

TORCH_LIBRARY_FRAGMENT(tierra, library) {
  library.def("summa_ab(Tensor a, Tensor b, int row, int column) -> Tensor");
  library.def("summa_abt(Tensor a, Tensor b, int row, int column) -> Tensor");
}

TORCH_LIBRARY_IMPL(tierra, CompositeImplicitAutograd, library) {
  library.impl("summa_ab", summaAB);
  library.impl("summa_abt", summaABt);
}

}  // namespace tierra::dist
