/** The checkpoints in `test/goldens/models`, made by `transformers`; `make.py` there says how. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LanguageModel } from '../../src/models/index.ts';
import { noGrad, ops, scope } from '../../src/tensor/index.ts';

const root = fileURLToPath(new URL('../goldens/models', import.meta.url));

export const goldenNames = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);

export interface GoldenModel {
  readonly folder: string;
  readonly ids: readonly (readonly number[])[];
  readonly logits: readonly number[];
  readonly prompt: readonly number[];
  /** What `generate` of transformers continued `prompt` with, without sampling. */
  readonly greedy: readonly number[];
}

export function goldenModel(name: string): GoldenModel {
  const folder = path.join(root, name);
  return { folder, ...JSON.parse(readFileSync(path.join(folder, 'expected.json'), 'utf8')) };
}

/** Logits of a placed model, flattened. */
export function logitsOf(model: LanguageModel, ids: readonly (readonly number[])[]): number[] {
  return scope(() =>
    noGrad(() => {
      const input = ops.fromArray(ids.flat(), [ids.length, ids[0]!.length], { dtype: 'int64' });
      return ops.toArray(model.call({ ids: input }));
    }),
  );
}

export function largestDifference(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return Number.NaN;
  return a.reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i]!)), 0);
}
