/** Goes on from a checkpoint, if there is one, trains some steps and saves. */
import { createHash } from 'node:crypto';
import { appendFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ConfigInput } from '../../../src/config/index.ts';
import type { Communicator } from '../../../src/dist/index.ts';
import { makeMesh } from '../../../src/dist/mesh.ts';
import { stepName } from '../../../src/engine/checkpoint/names.ts';
import { type Engine, initialize, launch } from '../../../src/engine/index.ts';
import { loadCheckpoint } from '../../../src/engine/loading.ts';
import { divideRanks, noOtherRanks } from '../../../src/engine/ranks.ts';
import { saveCheckpoint } from '../../../src/engine/saving.ts';
import { buildModel, type TokenBatch } from '../../../src/models/index.ts';
import type { Module } from '../../../src/nn/index.ts';
import { scope, type Tensor } from '../../../src/tensor/index.ts';
import { settings } from '../../native/engineSupport.ts';
import { freeBatch, mark, noPosition, pagesIn, rowsOf } from '../rankSupport.ts';

export interface Leg {
  readonly folder: string;
  readonly parallel: NonNullable<ConfigInput['parallel']>;
  readonly memory?: ConfigInput['memory'];
  /** Compressed states, in bf16. */
  readonly compressed?: boolean;
  readonly from: number;
  readonly steps: number;
  /** Saves after so many steps too, with the losses so far in `losses.log` and each rank's hashes in a file beside: for legs that are killed. */
  readonly saveEvery?: number;
}

/** Hashes of what rank `rank` held after step `step` of the leg that began at step `from`. */
export const hashFile = (folder: string, from: number, step: number, rank: number): string =>
  path.join(folder, `hashes-${from}-${step}-${rank}.json`);

export interface LegResult {
  readonly losses: readonly number[];
  /** After loading and at the end: `name kind:first element` of every 4096 elements that this rank holds. */
  readonly loaded: Readonly<Record<string, string>>;
  readonly ended: Readonly<Record<string, string>>;
}

const rows = 12;
const shape = { n_embd: 48, n_layer: 2, n_head: 4, n_positions: 16, vocab_size: 61 };
const drops = { resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0 };

export async function run(communicator: Communicator | null, leg: Leg): Promise<LegResult> {
  const context = launch(
    settings({
      precision: leg.compressed === true ? 'bf16' : 'fp64',
      parallel: leg.parallel,
      train: { output: leg.folder, keepLast: 9 },
      ...(leg.memory === undefined ? {} : { memory: leg.memory }),
      optimizer: {
        states: leg.compressed === true ? 'compressed' : 'exact',
        groups: [{ match: 'blocks\\.1\\.mlp', frozen: true }],
      },
    }),
  );
  const ranks = communicator === null ? noOtherRanks : divideRanks(makeMesh(communicator, {}), context.config.parallel);
  const built = buildModel({ architecture: 'gpt2', config: { ...shape, ...drops } });
  const model = built.model as unknown as Module<[TokenBatch], Tensor>;
  const engine: Engine<TokenBatch, Tensor> = initialize({ context, model, ranks });
  engine.train();
  const batch = rowsOf(rows, 0, ranks.rank, ranks.size);
  engine.prepare(batch);
  freeBatch(batch);
  if (leg.from > 0) loadCheckpoint(engine, path.join(leg.folder, 'checkpoints', stepName(leg.from)), built);
  const loaded = hashesOf(engine);
  const losses: number[] = [];
  const note = (hashes: LegResult['loaded']): void =>
    writeFileSync(hashFile(leg.folder, leg.from, engine.steps, ranks.rank), JSON.stringify(hashes));
  if (leg.saveEvery !== undefined) note(loaded);
  const save = (): Promise<unknown> =>
    saveCheckpoint(engine, { built, config: context.config, totalSteps: 20 }, noPosition);
  while (engine.steps < leg.from + leg.steps) {
    engine.zeroGrad();
    const own = rowsOf(rows, engine.steps, ranks.rank, ranks.size);
    losses.push(
      scope(() => {
        const loss = engine.forward(own);
        engine.backward(loss);
        return loss.item();
      }),
    );
    engine.step();
    freeBatch(own);
    if (leg.saveEvery === undefined) continue;
    const mean = ranks.sum([losses.at(-1)!])[0]! / ranks.size;
    if (ranks.rank === 0) appendFileSync(path.join(leg.folder, 'losses.log'), `${engine.steps} ${mean}\n`);
    mark(`step ${engine.steps - leg.from}`);
    if (engine.steps % leg.saveEvery !== 0) continue;
    note(hashesOf(engine));
    await save();
  }
  await save();
  const ended = hashesOf(engine);
  engine.dispose();
  return { losses: ranks.sum(losses).map((loss) => loss / ranks.size), loaded, ended };
}

function hashesOf(engine: Engine<TokenBatch, Tensor>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of engine.store.stateEntries()) {
    const bytes = new Uint8Array(entry.bytes);
    entry.read(bytes, 0);
    const begin = entry.part?.begin ?? 0;
    const { size, count } = pagesIn(entry);
    for (let at = 0; at < entry.bytes; at += count * size) {
      const key = `${entry.parameter.name} ${entry.kind}:${begin + at / size}`;
      found[key] = createHash('sha1')
        .update(bytes.subarray(at, at + count * size))
        .digest('hex');
    }
  }
  return found;
}
