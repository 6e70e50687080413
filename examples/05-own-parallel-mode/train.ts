/**
 * Trains a small Llama under the parallel mode and the schedule of this folder.
 *
 *     npx tsx examples/05-own-parallel-mode/train.ts                                         # one process, nothing divided
 *     npx tierra run -n 4 examples/05-own-parallel-mode/train.ts pp=2 tp=2                   # the same numbers
 *     npx tierra run -n 4 examples/05-own-parallel-mode/train.ts tp=2 zero=3
 *
 * In a project of your own, import from 'tierra'.
 */
import { initialize, launch, meshOf, models, nn, ops, scope, type Tensor } from '../../src/index.ts';
import { eager } from './eagerSchedule.ts';
import { tokenLine, tokenLineGradients } from './tokenLine.ts';

const steps = 10;
const [rows, length] = [4, 32];
const context = launch(
  {
    ...{ device: 'cpu', precision: 'fp64', runtime: { threads: 1, optimizerThreads: 1 } },
    optimizer: { learningRate: 3e-3 },
    train: { steps, accumulate: 4, clipNorm: 1 },
  },
  process.argv.slice(2).map((degree) => `parallel.${degree}`),
);
const { tp } = context.config.parallel;
const shape = {
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
};
const build = () =>
  models.buildModel({ architecture: 'llama', config: { ...shape, vocab_size: 67, max_position_embeddings: length } });

// The group is the mesh's: the ranks along tp. The layers are ours while the model is built.
const mesh = tp === 1 ? null : meshOf(context);
const { model } = mesh === null ? build() : nn.withLayers(tokenLine(mesh.group('tp')), build);
using engine = initialize<models.TokenBatch, Tensor>({
  context,
  model,
  pipelineSchedule: eager,
  ...(mesh === null ? {} : { gradientGroup: tokenLineGradients(mesh) }),
});

/** This rank's rows of a batch of ids that mostly follow each other; labels are one ahead. */
function batch(number: number): { ids: Tensor; labels: Tensor } {
  const { rank, size } = engine.ranks.rows;
  const own = Array.from({ length: rows / size }, (_, row) => (rank * rows) / size + row);
  const id = (row: number, at: number): number => (number * 7 + row * 13 + at * (at % 5 === 0 ? 3 : 1)) % 67;
  const text = (shift: number): Tensor =>
    ops.fromArray(
      BigInt64Array.from(own.flatMap((row) => Array.from({ length }, (_, at) => BigInt(id(row, at + shift))))),
      [own.length, length],
    );
  return { ids: text(0), labels: text(1) };
}

engine.train();
const { ranks } = engine;
for (let step = 0; step < steps; step++) {
  engine.zeroGrad();
  const own = scope(() => {
    const losses = engine.runMicroBatches([0, 1, 2, 3].map((micro) => batch(4 * step + micro)));
    return losses.reduce((sum, loss) => sum + loss.item(), 0) / losses.length;
  });
  const [sum] = ranks.sum([own]) as [number];
  const { gradientNorm } = engine.step()!;
  const line = `step ${step + 1}  loss ${(sum / ranks.size).toFixed(10)}  norm ${gradientNorm.toFixed(10)}`;
  if (ranks.everyone.rank === 0) console.log(line);
}
