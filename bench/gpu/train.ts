/**
 * One row of the GPU tables: trains a preset on random tokens and prints tokens/s, strict model TFLOP/s, memory, waits.
 *
 *   node --import tsx bench/gpu/train.ts '{"preset":"llama-3.2-3b","batch":4,"length":4096,"memory":{...},"steps":8}'
 *
 * Under `tierra run -n N` the ranks train together as `parallel` says, and rank 0 prints; `batch` is then a data rank's.
 * The strict count: 6 · (matmul parameters) + 6 · layers · heads · headSize · length FLOPs per token (causal), no
 * recomputation, no input embedding. A step is timed from the end of the one before it, so that nothing which goes on between them is
 * left out; batches are on the device beforehand. The first two steps are warm-up; the median of the rest counts.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ConfigInput } from '../../src/config/index.ts';
import { Checkpointer, type SaveReport } from '../../src/engine/checkpointer.ts';
import { observe } from '../../src/engine/observing.ts';
import { initialize, launch } from '../../src/index.ts';
import { buildModel, type LanguageModel, type TokenBatch } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import type { MovementReport } from '../../src/offload/observer.ts';
import { PlainProgress } from '../../src/telemetry/index.ts';
import { readLater, type Tensor } from '../../src/tensor/index.ts';
import { quickValues, randomTokens } from './inputs.ts';

interface Row {
  readonly label: string;
  readonly preset: string;
  /** Fields of the Hugging Face configuration that differ from the preset. */
  readonly overrides?: Readonly<Record<string, unknown>>;
  readonly batch: number;
  readonly length: number;
  readonly microBatches?: number;
  readonly memory?: ConfigInput['memory'];
  readonly parallel?: ConfigInput['parallel'];
  readonly precision?: 'fp32' | 'bf16' | 'fp16';
  readonly device?: 'cuda' | 'cpu';
  readonly graphs?: 'auto' | 'always' | 'never';
  /** Threads of the host's optimizer, default all cores. */
  readonly optimizerThreads?: number;
  readonly steps: number;
  readonly clipNorm: number;
  /** A checkpoint behind training after every so many steps. */
  readonly saveEvery?: number;
  /** A file for the timeline of every step. */
  readonly trace?: string;
}

const row = JSON.parse(process.argv[2] ?? '{}') as Row;
const { batch, length, steps, microBatches = 1, precision = 'bf16' } = row;
/** The same for all ranks, which agree on their configuration before they start. */
const output = path.join(tmpdir(), `tierra-bench-${process.env.RANK === undefined ? process.pid : process.ppid}`);
mkdirSync(output, { recursive: true });
const context = launch({
  device: row.device ?? 'cuda',
  precision,
  runtime: {
    deterministic: false,
    ...(row.graphs === undefined ? {} : { graphs: row.graphs }),
    trace: row.trace ?? null,
    optimizerThreads: row.optimizerThreads ?? 'auto',
  },
  train: { steps: 1000, batchSize: batch, accumulate: microBatches, clipNorm: row.clipNorm, output, keepLast: 1 },
  optimizer: { learningRate: 1e-5 },
  memory: row.memory ?? {},
  parallel: row.parallel ?? {},
} as ConfigInput);
const lengthKey = row.preset.startsWith('gpt2') ? 'n_positions' : 'max_position_embeddings';
const built = buildModel({ preset: row.preset, overrides: { [lengthKey]: length, ...row.overrides } } as never);
const model: LanguageModel = built.model;
const progress = new PlainProgress(process.stderr, { logEvery: 1 });
const observation = observe(context.config, progress);
const { observer } = observation;
const values = quickValues(context.dtype, context.device);
const engine = initialize<TokenBatch, Tensor>({ context, model, totalSteps: 1000, values, observer });
const saves: SaveReport[] = [];
const checkpointer = new Checkpointer(
  engine,
  { built, config: context.config, totalSteps: 1000 },
  {
    saved: (save) => void saves.push(save),
    failed: (error) => {
      throw error;
    },
  },
);

/** Numbers that both families keep, under Hugging Face's names. */
const shape = built.hfConfig as Readonly<Record<string, number | boolean | undefined>>;
const number = (...names: readonly string[]): number => Number(names.map((name) => shape[name]).find(Boolean));
const width = number('hidden_size', 'n_embd');
const layers = number('num_hidden_layers', 'n_layer');
const heads = number('num_attention_heads', 'n_head');
const headSize = number('head_dim') || width / heads;
const vocabulary = number('vocab_size') || 50_257;
const tied = row.preset.startsWith('gpt2') || shape.tie_word_embeddings === true;
const positions = row.preset.startsWith('gpt2') ? length * width : 0;

const times: number[] = [];
/** From the start of the process to the beginning of the first step, which places everything, and to its end. */
let startSeconds = 0;
let firstSeconds = 0;
const losses: number[] = [];
let clipped = 0;
let cudaAllocations = 0;
const tokens = (): TokenBatch => randomTokens(batch, length, vocabulary, context.device);
const data = Array.from({ length: steps }, () => Array.from({ length: microBatches }, tokens));
native().synchronize(context.device);
let ended = performance.now();
for (const [step, batches] of data.entries()) {
  if (step === 0) startSeconds = process.uptime();
  engine.zeroGrad();
  const loss = readLater(engine.runMicroBatches(batches).slice(0, 1));
  const outcome = engine.step()!;
  losses.push(...loss());
  if (row.saveEvery !== undefined && (step + 1) % row.saveEvery === 0) await checkpointer.save({} as never);
  const now = performance.now();
  times.push((now - ended) / 1e3);
  ended = now;
  if (step === 0) firstSeconds = process.uptime();
  if (step === 0 && row.saveEvery !== undefined) checkpointer.prepare();
  if (outcome.clipFactor < 1) clipped++;
  for (const { ids } of batches) ids.dispose();
  if (step === 1) cudaAllocations = native().memoryStats(context.device).systemAllocations;
  await new Promise((resolve) => setImmediate(resolve));
}
await checkpointer.finish();
const measured = times.slice(2).sort((a, b) => a - b);
const median = measured[Math.floor(measured.length / 2)]!;
// With checkpoints some steps carry what others do not: then the mean is the honest figure.
const seconds = row.saveEvery === undefined ? median : measured.reduce((sum, time) => sum + time, 0) / measured.length;
const { dp = 1, ep = 1 } = (row.parallel ?? {}) as { readonly dp?: number; readonly ep?: number };
const stepTokens = batch * length * microBatches * dp * ep;
const matmul = model.parameterCount - (tied ? 0 : vocabulary * width) - positions;
const flops = stepTokens * (6 * matmul + 6 * layers * heads * headSize * length);
const movement = (engine.store as { report?(): MovementReport | null }).report?.() ?? null;
const stats = native().memoryStats(context.device);
const gib = (bytes: number): number => Number((bytes / 2 ** 30).toFixed(1));
const device = context.device.startsWith('cuda') ? native().deviceInfo(0) : null;
if (context.world.rank === 0) {
  console.log(
    JSON.stringify({
      label: row.label,
      device: device?.name ?? 'cpu',
      parameters: model.parameterCount,
      started: [startSeconds, firstSeconds].map((at) => Number(at.toFixed(1))),
      stepSeconds: Number(seconds.toFixed(4)),
      minmax: [Number(measured[0]!.toFixed(3)), Number(measured.at(-1)!.toFixed(3))],
      tokensPerSecond: Math.round(stepTokens / seconds),
      // Of a mixture's parameters a token uses a part: not counted here.
      tflops: shape.num_local_experts === undefined ? Number((flops / seconds / 1e12).toFixed(1)) : null,
      usedGiB: device === null ? null : gib(device.totalBytes - device.freeBytes),
      peakGiB: gib(stats.peakBytes),
      allocationsAfterStep2: stats.systemAllocations - cudaAllocations,
      tiers: engine.store.use().map(({ tier, usedBytes }) => `${tier} ${gib(usedBytes)}`),
      clipped: `${clipped}/${steps}`,
      losses: losses.map((loss) => Number(loss.toFixed(4))).slice(0, 4),
      rss: gib(process.memoryUsage().rss),
      computeShare: movement === null ? null : Number((movement.computeSeconds / movement.stepSeconds).toFixed(3)),
      replaying: engine.isReplaying,
      notes: engine.notes,
      waits: movement?.waits ?? [],
      between: movement?.betweenSeconds ?? null,
      lanes: movement?.lanes ?? null,
      guesses: movement?.guesses ?? null,
      saves: saves.map(({ blockedMs, totalMs }) => [Math.round(blockedMs), Math.round(totalMs)]),
      plan: describePlan(),
    }),
  );
}
engine.dispose();
observation[Symbol.dispose]();
rmSync(output, { recursive: true, force: true });

function describePlan(): unknown {
  const plan = (engine.store as { plan?: { forecast: unknown; chunks: { update: string; stateHome: string }[] } }).plan;
  if (plan == null) return null;
  const counts: Record<string, number> = {};
  for (const { update, stateHome } of plan.chunks)
    counts[`${stateHome}/${update}`] = (counts[`${stateHome}/${update}`] ?? 0) + 1;
  return { counts, forecast: plan.forecast };
}
