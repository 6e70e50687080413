/**
 * As large as it gets: asks the planner for the deepest model of a shape that this machine takes, trains `steps` of it, checks what they
 * did to three matrices against AdamW in double precision, and shows that 5 % more is refused.
 *
 *   node --import tsx bench/gpu/largest.ts '{"preset":"llama-2-7b","length":2048,"memory":{"gpu":"24GiB","cpu":"110GiB","nvme":{...}}}'
 */

import { largestText } from '../../src/cli/planText.ts';
import { type ConfigInput, resolveConfig } from '../../src/config/index.ts';
import { formatError, isTierraError } from '../../src/core/errors.ts';
import { formatBytes, formatCount } from '../../src/core/units.ts';
import { planLargest } from '../../src/engine/planLargest.ts';
import { type Engine, initialize, launch } from '../../src/index.ts';
import { buildModel, type ModelSettings, type TokenBatch } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import type { Parameter } from '../../src/nn/index.ts';
import type { ChunkStore } from '../../src/offload/chunked/chunkStore.ts';
import type { StateKind } from '../../src/offload/store.ts';
import { scope, type Tensor } from '../../src/tensor/index.ts';
import { quickValues, randomTokens } from './inputs.ts';

interface Row {
  readonly preset: string;
  readonly overrides?: Readonly<Record<string, unknown>>;
  readonly batch?: number;
  readonly length: number;
  /** 2 by default: the second begins from moments that are not zero. */
  readonly steps?: number;
  readonly memory: NonNullable<ConfigInput['memory']>;
  readonly precision?: 'fp32' | 'bf16';
  readonly device?: 'cuda' | 'cpu';
}

const row = JSON.parse(process.argv[2] ?? '{}') as Row;
const { batch = 1, length, steps = 2 } = row;
/** Said outright: a plan would take the vocabulary of the tokenizer, of which there is none here. */
const { vocab_size } = buildModel({ preset: row.preset } as ModelSettings).hfConfig as { readonly vocab_size: number };
const overrides = { vocab_size, ...row.overrides };
const adam = { learningRate: 1e-4, betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0.1 } as const;
const config = resolveConfig({
  device: row.device ?? 'cuda',
  precision: row.precision ?? 'bf16',
  model: { preset: row.preset, overrides },
  data: { train: 'random tokens', sequenceLength: length },
  train: { steps: 1000, batchSize: batch, clipNorm: 1 },
  optimizer: adam,
  schedule: { name: 'constant', warmupSteps: 0 },
  memory: row.memory,
} as unknown as ConfigInput);

const began = performance.now();
const since = (): string => `${((performance.now() - began) / 1e3).toFixed(0)} s`;
const found = await planLargest(config, { described: null, measure: false });
process.stdout.write(largestText(found));
console.log(`planned after ${since()}`);
const engine = engineOf(found.layers);
withTokens((tokens) => engine.prepare(tokens, { together: true }));
const { plan } = engine.store as ChunkStore;
const states = (['gpu', 'host', 'nvme'] as const).map(
  (tier) => `${plan!.chunks.filter(({ stateHome }) => stateHome === tier).length} on ${tier}`,
);
console.log(`placed after ${since()}; states of ${plan!.chunks.length} chunks: ${states.join(', ')}`);
const matrices = engine.model.parameters().filter(({ shape }) => shape.length > 1);
const sampled = [0.1, 0.5, 0.9].map((share) => matrices[Math.floor(share * matrices.length)]!);
for (let step = 0; step < steps; step++) {
  const before = sampled.map(read);
  const at = performance.now();
  const { loss, norm, clipFactor } = withTokens(oneStep);
  const seconds = (performance.now() - at) / 1e3;
  const scaled = clipFactor < 1 ? `, clipped by ${clipFactor.toPrecision(3)}` : '';
  console.log(
    `\nstep ${step + 1}: ${seconds.toFixed(1)} s, loss ${loss.toFixed(4)}, norm ${norm.toPrecision(4)}${scaled}`,
  );
  for (const [index, parameter] of sampled.entries()) {
    const { master, moment2, weights } = compare(before[index]!, read(parameter), step + 1);
    console.log(
      `  ${parameter.name}: master off by ${master.toFixed(2)}, second moment by ${moment2.toFixed(2)} of what rounding allows; ${weights} of ${formatCount(parameter.elements)} weights are not the rounded master`,
    );
  }
}

console.log('\nin use, of the budget');
for (const { tier, usedBytes, budgetBytes } of engine.store.use()) {
  const share = `${Math.round((100 * usedBytes) / budgetBytes)} %`;
  console.log(`  ${tier}: ${formatBytes(usedBytes)} of ${formatBytes(budgetBytes)}, ${share}`);
}
if (engine.context.device !== 'cpu') {
  const { totalBytes, freeBytes } = native().deviceInfo(0);
  console.log(`  the device: ${formatBytes(totalBytes - freeBytes)} of ${formatBytes(totalBytes)}`);
}
console.log(`  this process: ${formatBytes(process.memoryUsage().rss)} of host memory`);
engine.dispose();

if (found.refused !== null) console.log(`\n${found.refused.layers} layers: ${refusalOf(found.refused.layers)}`);

function engineOf(layers: number): Engine<TokenBatch, Tensor> {
  const context = launch(config as unknown as ConfigInput);
  const shape = { preset: row.preset, overrides: { ...overrides, [found.field]: layers } };
  const { model } = buildModel(shape as unknown as ModelSettings);
  const values = quickValues(context.dtype, context.device);
  return initialize<TokenBatch, Tensor>({ context, model, totalSteps: 1000, values });
}

function withTokens<Result>(body: (tokens: TokenBatch) => Result, { context } = engine): Result {
  const tokens = randomTokens(batch, length, found.summary.model.vocabulary, context.device);
  try {
    return body(tokens);
  } finally {
    tokens.ids.dispose();
  }
}

function oneStep(tokens: TokenBatch): { loss: number; norm: number; clipFactor: number } {
  engine.zeroGrad();
  const loss = scope(() => engine.runMicroBatches([tokens])[0]!.item());
  const { gradientNorm, clipFactor } = engine.step()!;
  return { loss, norm: gradientNorm, clipFactor };
}

/** A matrix as the store has it: fp32 master and moments, and the bits of the weight. */
interface Values {
  readonly master: Float32Array;
  readonly moment1: Float32Array;
  readonly moment2: Float32Array;
  /** Null where the weight is the master. */
  readonly weight: Uint16Array | null;
}

function read(parameter: Parameter): Values {
  const entries = new Map(
    engine.store.stateEntries().flatMap((entry) => (entry.parameter === parameter ? [[entry.kind, entry]] : [])),
  );
  const bytes = (kind: StateKind): ArrayBuffer | null => {
    const entry = entries.get(kind);
    if (entry === undefined) return null;
    const into = new Uint8Array(entry.bytes);
    entry.read(into, 0);
    return into.buffer;
  };
  const [master, weight] = [bytes('master'), bytes('weight')!];
  return {
    master: new Float32Array(master ?? weight),
    moment1: new Float32Array(bytes('moment1')!),
    moment2: new Float32Array(bytes('moment2')!),
    weight: master === null ? null : new Uint16Array(weight),
  };
}

/**
 * AdamW (Loshchilov and Hutter, 2019) in double precision: the gradient follows from the first moment, the second moment and the master from
 * that. Errors in units of what the roundings of one fp32 update may add up to.
 */
function compare(before: Values, after: Values, step: number): { master: number; moment2: number; weights: number } {
  const [beta1, beta2] = adam.betas;
  const [correction1, correction2] = [1 - beta1 ** step, 1 - beta2 ** step];
  const ulp = 2 ** -23;
  const rounded = new Uint32Array(1);
  const asFloat = new Float32Array(rounded.buffer);
  let [master, moment2, weights] = [0, 0, 0];
  for (let i = 0; i < after.master.length; i++) {
    const [m0, m1] = [before.moment1[i]!, after.moment1[i]!];
    const gradient = m0 + (m1 - m0) / (1 - beta1);
    const gradientError = (ulp * (Math.abs(m0) + Math.abs(m1))) / (1 - beta1);
    const v1 = beta2 * before.moment2[i]! + (1 - beta2) * gradient ** 2;
    const allowed =
      2 * (1 - beta2) * Math.abs(gradient) * gradientError + (1 - beta2) * gradientError ** 2 + 2 * ulp * v1;
    moment2 = Math.max(moment2, Math.abs(after.moment2[i]! - v1) / (allowed + 1e-38));
    const update = adam.learningRate * (m1 / correction1 / (Math.sqrt(after.moment2[i]! / correction2) + adam.eps));
    const w0 = before.master[i]!;
    const w1 = w0 - update - adam.learningRate * adam.weightDecay * w0;
    master = Math.max(master, Math.abs(after.master[i]! - w1) / (ulp * (Math.abs(w0) + 8 * Math.abs(update)) + 1e-38));
    if (after.weight !== null) {
      asFloat[0] = after.master[i]!;
      const bits = rounded[0]!;
      if ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16 !== after.weight[i]) weights++;
    }
  }
  return { master, moment2, weights };
}

function refusalOf(layers: number): string {
  const deeper = engineOf(layers);
  try {
    withTokens((tokens) => deeper.prepare(tokens, { together: true }), deeper);
    return 'NOT refused';
  } catch (error) {
    if (!isTierraError(error)) throw error;
    return `refused, ${error.code}: ${formatError(error)}`;
  } finally {
    deeper.dispose();
  }
}
