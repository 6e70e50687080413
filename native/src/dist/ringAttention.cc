// tierra::ring_attention: exact attention over a sequence whose parts other ranks hold (Liu, Zaharia, Abbeel 2023), without
// a row of scores of the whole sequence. Keys and values go around the ring; what they add to the output is merged by the
// log-sum-exp of its scores (Milakov & Gimelshein 2018). Backward makes each block's weights again from that log-sum-exp
// (Dao et al. 2022): keys and values go around once more, and their gradients follow them home.
//
// A rank's tokens are `folds` runs of the sequence. One: rank r has run r of p. Two (zigzag): runs r and 2p-1-r of 2p, so that
// every rank has the same work under a causal mask. Scores exist for `tile` query positions times one run at a time.
//
// Shapes: query [b, h, t, d], key and value [b, k, t, d]; g = h/k query heads share a key/value head.
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "dist/ring.h"

namespace tierra::dist {

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Settings {
  bool causal;
  double scale;
  int64_t folds;
  int64_t tile;
};

// Scores held at a time, in elements: 16 Mi of fp32 are 64 MiB.
constexpr int64_t kScoresPerTile = 1 << 24;

// Position of each of a rank's runs among all runs of the sequence.
int64_t runOf(int64_t rank, int64_t fold, int64_t folds, int64_t size) { return fold == 0 ? rank : folds * size - 1 - rank; }

// Rows of queries against columns of keys that they may see.
struct Tile {
  int64_t row, rows, column, columns;
  // How many keys the first row sees, where the tile lies on the diagonal of a causal mask.
  std::optional<int64_t> seen;
};

// All tiles of this rank's queries against the keys of `owner`.
std::vector<Tile> tilesOf(const Group& group, int64_t owner, int64_t length, int64_t heads, const Settings& settings) {
  const int64_t run = length / settings.folds;
  const int64_t tile = settings.tile > 0 ? settings.tile : std::max<int64_t>(1, kScoresPerTile / std::max<int64_t>(1, heads * run));
  std::vector<Tile> tiles;
  for (int64_t q = 0; q < settings.folds; ++q) {
    for (int64_t k = 0; k < settings.folds; ++k) {
      const int64_t ours = runOf(group.rank(), q, settings.folds, group.size()), theirs = runOf(owner, k, settings.folds, group.size());
      if (settings.causal && theirs > ours) continue;
      const bool diagonal = settings.causal && theirs == ours;
      for (int64_t row = 0; row < run; row += tile) {
        const int64_t rows = std::min(tile, run - row);
        Tile made{q * run + row, rows, k * run, diagonal ? row + rows : run, std::nullopt};
        if (diagonal) made.seen = row + 1;
        tiles.push_back(made);
      }
    }
  }
  return tiles;
}

// x [b, k, g, t, n], some rows, as [b, k, g * rows, n].
Tensor rowsOf(const Tensor& x, const Tile& tile) {
  const Tensor part = x.narrow(3, tile.row, tile.rows);
  return part.reshape({part.size(0), part.size(1), part.size(2) * tile.rows, part.size(4)});
}

// [b, k, g, rows, columns], -inf where a key lies ahead.
Tensor scoresOf(const Tensor& query, const Tensor& keys, const Tile& tile, const Settings& settings) {
  Tensor scores = at::matmul(rowsOf(query, tile), keys.transpose(2, 3)).to(wideTypeOf(query)).mul_(settings.scale);
  scores = scores.view({query.size(0), query.size(1), query.size(2), tile.rows, tile.columns});
  if (tile.seen) {
    const Tensor ahead = at::ones({tile.rows, tile.columns}, scores.options().dtype(at::kBool)).triu_(*tile.seen);
    scores.masked_fill_(ahead, -std::numeric_limits<double>::infinity());
  }
  return scores;
}

// Output and log-sum-exp of the softmax over what has come by so far: wide [b, k, g, t, d] and [b, k, g, t].
struct Merged {
  Tensor out, logSum;
};

void mergeTile(const Merged& merged, const Tensor& query, const Tensor& block, const Tile& tile, const Settings& settings) {
  const Tensor keys = block[0].narrow(2, tile.column, tile.columns), values = block[1].narrow(2, tile.column, tile.columns);
  const Tensor scores = scoresOf(query, keys, tile, settings);
  const Tensor logSum = scores.logsumexp(-1);
  const Tensor weights = (scores - logSum.unsqueeze(-1)).exp_().to(values.scalar_type());
  const Tensor out = at::matmul(weights.view({query.size(0), query.size(1), -1, tile.columns}), values).to(scores.scalar_type());
  const Tensor before = merged.logSum.narrow(3, tile.row, tile.rows), sum = merged.out.narrow(3, tile.row, tile.rows);
  const Tensor after = at::logaddexp(before, logSum);
  sum.mul_((before - after).exp_().unsqueeze(-1)).add_(out.view(sum.sizes()).mul((logSum - after).exp_().unsqueeze(-1)));
  before.copy_(after);
}

Merged forwardRing(const Tensor& query, const Tensor& own, Group& group, const Settings& settings) {
  const auto wide = query.options().dtype(wideTypeOf(query));
  Merged merged{at::zeros(query.sizes(), wide),
                at::full(query.sizes().slice(0, 4), -std::numeric_limits<double>::infinity(), wide)};
  Tensor block = own;
  for (int64_t step = 0; step < group.size(); ++step) {
    std::optional<Turn> turn;
    if (step + 1 < group.size()) turn.emplace(group, block, kBlockTag);
    const int64_t heads = query.size(0) * query.size(1) * query.size(2);
    for (const Tile& tile : tilesOf(group, ownerAfter(group, step), query.size(3), heads, settings)) mergeTile(merged, query, block, tile, settings);
    if (turn) block = turn->arrived();
  }
  return merged;
}

// What backward knows of this rank's rows: all [b, k, g, t, d], the last two [b, k, g, t].
struct Rows {
  Tensor query, outGradient, logSum, delta;
};

// Adds a tile's part to the gradients of queries (wide [b, k, g, t, d]) and of the block (wide [2, b, k, t, d]).
void backwardTile(const Tensor& queryGradient, const Tensor& blockGradient, const Rows& rows, const Tensor& block, const Tile& tile,
                  const Settings& settings) {
  const Tensor keys = block[0].narrow(2, tile.column, tile.columns), values = block[1].narrow(2, tile.column, tile.columns);
  const auto flat = [&](const Tensor& x) { return x.reshape({x.size(0), x.size(1), -1, tile.columns}); };
  const Tensor query = rowsOf(rows.query, tile), outGradient = rowsOf(rows.outGradient, tile);
  const Tensor weights = scoresOf(rows.query, keys, tile, settings).sub_(rows.logSum.narrow(3, tile.row, tile.rows).unsqueeze(-1)).exp_();
  const Tensor narrow = flat(weights).to(values.scalar_type());
  blockGradient[1].narrow(2, tile.column, tile.columns).add_(at::matmul(narrow.transpose(2, 3), outGradient));
  Tensor scores = at::matmul(outGradient, values.transpose(2, 3)).to(weights.scalar_type()).view(weights.sizes());
  scores = scores.sub_(rows.delta.narrow(3, tile.row, tile.rows).unsqueeze(-1)).mul_(weights).mul_(settings.scale);
  const Tensor scoreGradient = flat(scores).to(keys.scalar_type());
  blockGradient[0].narrow(2, tile.column, tile.columns).add_(at::matmul(scoreGradient.transpose(2, 3), query));
  const Tensor into = queryGradient.narrow(3, tile.row, tile.rows);
  into.add_(at::matmul(scoreGradient, keys).view(into.sizes()));
}

// A block's gradient starts where it goes first, collects on its way and arrives home with the last turn: as many turns as
// the block itself. The home's own part waits there.
struct Gradients {
  Tensor query, block;
};

Gradients backwardRing(const Rows& rows, const Tensor& own, Group& group, const Settings& settings) {
  const auto wide = own.options().dtype(wideTypeOf(own));
  Gradients made{at::zeros(rows.query.sizes(), wide), Tensor()};
  std::optional<Turn> gradientTurn;
  Tensor block = own;
  for (int64_t step = 0; step < group.size(); ++step) {
    std::optional<Turn> turn;
    if (step + 1 < group.size()) turn.emplace(group, block, kBlockTag);
    Tensor part = at::zeros(own.sizes(), wide);
    const int64_t heads = rows.query.size(0) * rows.query.size(1) * rows.query.size(2);
    for (const Tile& tile : tilesOf(group, ownerAfter(group, step), rows.query.size(3), heads, settings)) {
      backwardTile(made.query, part, rows, block, tile, settings);
    }
    if (step == 0) {
      made.block = part;
    } else {
      if (gradientTurn) part.add_(gradientTurn->arrived());
      gradientTurn.emplace(group, part, kGradientTag);
    }
    if (turn) block = turn->arrived();
  }
  if (gradientTurn) made.block.add_(gradientTurn->arrived());
  return made;
}

Tensor grouped(const Tensor& x, int64_t heads) {
  return x.reshape({x.size(0), heads, x.size(1) / heads, x.size(2), x.size(3)});
}

void checkShapes(const Tensor& query, const Tensor& key, const Tensor& value, const Group& group, const Settings& settings) {
  const bool fits = query.dim() == 4 && key.dim() == 4 && key.sizes() == value.sizes() && query.size(0) == key.size(0) && key.size(1) > 0 &&
                    query.size(1) % key.size(1) == 0 && query.size(2) == key.size(2) && query.size(3) == key.size(3) &&
                    query.scalar_type() == key.scalar_type() && key.scalar_type() == value.scalar_type();
  if (!fits) {
    fail("E_ARGUMENT", "ring_attention in group \"" + group.name() + "\": query " + c10::str(query.sizes()) + ", key " + c10::str(key.sizes()) +
                           " and value " + c10::str(value.sizes()) + " are not [b, h, t, d] and twice [b, k, t, d] with h a multiple of k");
  }
  if (settings.folds < 1 || settings.folds > 2 || query.size(2) % settings.folds != 0) {
    fail("E_ARGUMENT", "ring_attention in group \"" + group.name() + "\": " + std::to_string(query.size(2)) + " positions are not " +
                           std::to_string(settings.folds) + " runs of one length; 1 or 2 are possible");
  }
}

struct RingAttention : torch::autograd::Function<RingAttention> {
  static Tensor forward(AutogradContext* context, const Tensor& query, const Tensor& key, const Tensor& value, int64_t id, bool causal,
                        double scale, int64_t folds, int64_t tile) {
    const auto group = findGroup(id);
    const Settings settings{causal, scale, folds, tile};
    checkShapes(query, key, value, *group, settings);
    const Merged merged = forwardRing(grouped(query, key.size(1)), at::stack({key, value}), *group, settings);
    const Tensor out = merged.out.view(query.sizes()).to(query.scalar_type());
    context->save_for_backward({query, key, value, out, merged.logSum});
    context->saved_data["group"] = id;
    context->saved_data["causal"] = causal;
    context->saved_data["scale"] = scale;
    context->saved_data["folds"] = folds;
    context->saved_data["tile"] = tile;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor &query = saved[0], &key = saved[1], &value = saved[2], &out = saved[3];
    const auto data = [context](const char* name) { return context->saved_data[name]; };
    const Settings settings{data("causal").toBool(), data("scale").toDouble(), data("folds").toInt(), data("tile").toInt()};
    const auto group = findGroup(data("group").toInt());
    const int64_t heads = key.size(1);
    const Tensor delta = (gradients[0].to(wideTypeOf(query)) * out).sum(-1);
    const Rows rows{grouped(query, heads), grouped(gradients[0], heads), saved[4], delta.view(saved[4].sizes())};
    const Gradients made = backwardRing(rows, at::stack({key, value}), *group, settings);
    const auto type = query.scalar_type();
    return {made.query.view(query.sizes()).to(type), made.block[0].to(type), made.block[1].to(type), Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

Tensor ringAttention(const Tensor& query, const Tensor& key, const Tensor& value, int64_t group, bool causal, double scale, int64_t folds,
                     int64_t tile) {
  return RingAttention::apply(query, key, value, group, causal, scale, folds, tile);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tierra, library) {
  library.def(
      "ring_attention(Tensor query, Tensor key, Tensor value, int group, bool causal, float scale, int folds, int tile) -> Tensor");
}

TORCH_LIBRARY_IMPL(tierra, CompositeImplicitAutograd, library) { library.impl("ring_attention", ringAttention); }

}  // namespace tierra::dist
