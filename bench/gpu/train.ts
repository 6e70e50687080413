/**
 * One row of the GPU tables: trains a preset on random tokens and prints tokens/s, strict model TFLOP/s, memory, waits.
 *
 *   node --import tsx bench/gpu/train.ts '{"preset":"llama-3.2-3b","batch":4,"length":4096,"memory":{...},"steps":8}'
 *
 * The strict count: 6 · (matmul parameters) + 6 · layers · heads · headSize · length FLOPs per token (causal), no
 * recomputation, no input embedding. The first two steps are warm-up; the median of the rest counts.
 */
import { initialize, launch } from '../../src/index.ts';
import { buildModel, type Llama } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import { ops } from '../../src/tensor/index.ts';

interface Row {
  readonly label: string;
  readonly preset: string;
  readonly batch: number;
  readonly length: number;
  readonly memory: Record<string, unknown>;
  readonly steps: number;
  readonly clipNorm: number;
}

const row = JSON.parse(process.argv[2] ?? '{}') as Row;
const { batch, length, steps } = row;
const context = launch({
  device: 'cuda',
  precision: 'bf16',
  runtime: { deterministic: false },
  train: { steps: 1000, batchSize: batch, clipNorm: row.clipNorm },
  optimizer: { learningRate: 1e-5 },
  memory: row.memory as never,
});
const built = buildModel({ preset: row.preset, overrides: { max_position_embeddings: length } });
const model = built.model as Llama;
const engine = initialize({ context, model, totalSteps: 1000, values: quickValues });
const { config } = model;
const vocabulary = config.vocab_size;

/** Normal values made on the device: a benchmark need not wait for keyed ones. */
function quickValues(parameter: { readonly shape: readonly number[] }) {
  const tensor = ops.empty(parameter.shape, { dtype: 'bfloat16', device: context.device });
  if (parameter.shape.length === 1) ops.fillInPlace(tensor, 1);
  else ops.normalInPlace(tensor, 0, 0.02);
  return tensor;
}

const times: number[] = [];
const losses: number[] = [];
let clipped = 0;
const data = new BigInt64Array(batch * (length + 1));
for (let step = 0; step < steps; step++) {
  for (let i = 0; i < data.length; i++) data[i] = BigInt(Math.floor(Math.random() * vocabulary));
  const ids = ops.fromArray(data.slice(0, batch * length), [batch, length], { device: context.device });
  native().synchronize(context.device);
  const began = performance.now();
  engine.zeroGrad();
  const [loss] = engine.runMicroBatches([{ ids, labels: ids }]);
  const kept = loss!.retain();
  const outcome = engine.step()!;
  losses.push(kept.item());
  native().synchronize(context.device);
  times.push((performance.now() - began) / 1e3);
  if (outcome.clipFactor < 1) clipped++;
  kept.dispose();
  ids.dispose();
}
const measured = times.slice(2).sort((a, b) => a - b);
const median = measured[Math.floor(measured.length / 2)]!;
const tokens = batch * length;
const embedding = vocabulary * config.hidden_size;
const matmul = model.parameterCount - (config.tie_word_embeddings ? 0 : embedding);
const attention = 6 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * length;
const flops = tokens * (6 * matmul + attention);
const gpu = native().deviceInfo(0);
console.log(
  JSON.stringify({
    label: row.label,
    device: gpu.name,
    parameters: model.parameterCount,
    stepSeconds: Number(median.toFixed(4)),
    minmax: [Number(measured[0]!.toFixed(3)), Number(measured.at(-1)!.toFixed(3))],
    tokensPerSecond: Math.round(tokens / median),
    tflops: Number((flops / median / 1e12).toFixed(1)),
    usedGiB: Number(((gpu.totalBytes - gpu.freeBytes) / 2 ** 30).toFixed(1)),
    peakGiB: Number((native().memoryStats(context.device).peakBytes / 2 ** 30).toFixed(1)),
    tiers: engine.store.use().map(({ tier, usedBytes }) => `${tier} ${(usedBytes / 2 ** 30).toFixed(1)}`),
    clipped: `${clipped}/${steps}`,
    losses: losses.map((loss) => Number(loss.toFixed(4))).slice(0, 4),
    rss: Number((process.memoryUsage().rss / 2 ** 30).toFixed(1)),
    plan: describePlan(),
  }),
);
engine.dispose();

function describePlan(): unknown {
  const plan = (engine.store as { plan?: { forecast: unknown; chunks: { update: string; stateHome: string }[] } }).plan;
  if (plan == null) return null;
  const counts: Record<string, number> = {};
  for (const { update, stateHome } of plan.chunks)
    counts[`${stateHome}/${update}`] = (counts[`${stateHome}/${update}`] ?? 0) + 1;
  return { counts, forecast: plan.forecast };
}
