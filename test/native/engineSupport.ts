/** Models, settings and readings that the engine's tests share. */
import type { ConfigInput } from '../../src/config/index.ts';
import { type Context, type Engine, type InitializeOptions, initialize, launch } from '../../src/engine/index.ts';
import { Gpt2, type Gpt2Config, type TokenBatch } from '../../src/models/index.ts';
import { Dropout, LayerNorm, Linear, Module } from '../../src/nn/index.ts';
import { meanSquaredError } from '../../src/nn/losses.ts';
import { noGrad, ops, type Tensor } from '../../src/tensor/index.ts';
import { tinyGpt2 } from '../cases/models.ts';

/** Two layers with a norm and dropout between: each layer a unit. */
export class Mlp extends Module<[Tensor], Tensor> {
  readonly first: Linear;
  readonly norm: LayerNorm;
  readonly drop: Dropout;
  readonly second: Linear;

  constructor(dropout = 0) {
    super();
    this.first = new Linear(6, 16);
    this.norm = new LayerNorm(16);
    this.drop = new Dropout(dropout);
    this.second = new Linear(16, 3);
  }

  forward(x: Tensor): Tensor {
    return this.second.call(this.drop.call(this.norm.call(ops.tanh(this.first.call(x)))));
  }
}

/** Where models of these helpers train: the tests of test/gpu say otherwise. */
export const where = { device: 'cpu' };

export const base = {
  name: 'test',
  seed: 5,
  precision: 'fp32',
  runtime: { threads: 1, optimizerThreads: 1 },
  optimizer: { learningRate: 1e-2 },
  train: { steps: 20 },
} as const satisfies ConfigInput;

/** `base` with whole sections merged in. */
export function settings(changes: ConfigInput = {}): ConfigInput {
  const merged: Record<string, unknown> = { ...base, ...where };
  for (const [key, value] of Object.entries(changes)) {
    const before = merged[key];
    const both = isSection(before) && isSection(value);
    merged[key] = both ? { ...before, ...value } : value;
  }
  return merged as ConfigInput;
}

const isSection = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export interface Started<Model> {
  readonly context: Context;
  readonly model: Model;
  readonly engine: Engine<Tensor, Tensor, Tensor>;
}

export function startMlp(
  changes: ConfigInput = {},
  options: Partial<InitializeOptions<Tensor, Tensor, Tensor>> & { dropout?: number } = {},
): Started<Mlp> {
  const { dropout, ...rest } = options;
  const context = launch(settings(changes));
  const model = new Mlp(dropout);
  const engine = initialize({ context, model, criterion: meanSquaredError, ...rest });
  return { context, model, engine };
}

export type LanguageEngine = Engine<TokenBatch, Tensor>;

export function startGpt(
  changes: ConfigInput = {},
  shape: Partial<Gpt2Config> = {},
): { context: Context; model: Gpt2; engine: LanguageEngine } {
  const context = launch(settings(changes));
  const model = new Gpt2(tinyGpt2(shape));
  const engine = initialize<TokenBatch, Tensor>({ context, model });
  return { context, model, engine };
}

/** Numbers that look random and depend on their index and `seed` alone. */
export function numbers(count: number, seed: number): number[] {
  return Array.from({ length: count }, (_, index) => Math.sin(seed * 12.9898 + index * 78.233) * 0.9);
}

/** A regression problem: x `[rows, 6]`, y `[rows, 3]`. Kept: the caller disposes. */
export function problem(rows: number, seed: number): { input: Tensor; label: Tensor } {
  const input = ops.fromArray(numbers(rows * 6, seed), [rows, 6]).keep();
  const label = ops.fromArray(numbers(rows * 3, seed + 0.5), [rows, 3]).keep();
  return { input, label };
}

/** Token ids in `[0, vocabulary)`. */
export function tokens(rows: number, length: number, seed: number, vocabulary = 61): { ids: Tensor; labels: Tensor } {
  const ids = numbers(rows * (length + 1), seed).map((value) => Math.floor(Math.abs(value) * 1e4) % vocabulary);
  const pick = (offset: number): BigInt64Array =>
    BigInt64Array.from({ length: rows * length }, (_, i) =>
      BigInt(ids[Math.floor(i / length) * (length + 1) + (i % length) + offset]!),
    );
  return {
    ids: ops.fromArray(pick(0), [rows, length], where).keep(),
    labels: ops.fromArray(pick(1), [rows, length], where).keep(),
  };
}

export const bytesOf = (tensor: Tensor): string => Buffer.from(ops.toBytes(tensor)).toString('hex');

/** Every weight, bit for bit, by name. */
export function weightsOf(engine: { store: Engine['store'] }): Record<string, string> {
  const entries = engine.store.stateEntries();
  return Object.fromEntries(
    entries.map((entry) => {
      const bytes = new Uint8Array(entry.bytes);
      noGrad(() => entry.read(bytes, 0));
      return [`${entry.parameter.name} ${entry.kind}`, Buffer.from(bytes).toString('hex')];
    }),
  );
}
