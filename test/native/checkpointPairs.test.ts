/** Saved in one placement, resumed in another: the bits of a run that was never stopped. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ModelBytes, type PlacementCase, placementNamed, placements } from '../cases/placements.ts';
import {
  built,
  type Course,
  memoryOf,
  type Numbers,
  nowhere,
  saveScenario,
  startRun,
  trainTo,
} from './checkpointRuns.ts';
import { batchOf, drop, measure } from './tiersSupport.ts';

const all: readonly (PlacementCase | null)[] = [null, ...placements];
const nameOf = (placement: PlacementCase | null): string => placement?.name ?? 'everything resident';

/** Each placement as origin and as target, with three different partners: strides that share no factor with their number. */
const pairs = [1, 3, 7].flatMap((stride) =>
  all.map((from, index) => [nameOf(from), nameOf(all[(index + stride) % all.length]!)] as const),
);
const named = (name: string): PlacementCase | null => all.find((each) => nameOf(each) === name)!;

/** One of each kind, and each as origin and as target. */
const few = [
  null,
  ...['chunks, all on the GPU', 'tight GPU', 'parameters and states mostly on disk'].map(placementNamed),
];
const fewPairs = few.map((from, index) => [nameOf(from), nameOf(few[(index + 1) % few.length]!)] as const);

const pairsOf: Readonly<Record<Numbers, typeof pairs>> = {
  fp32: pairs,
  bf16: pairs.slice(0, all.length),
  'bf16, compressed': fewPairs,
};

describe.each(['fp32', 'bf16', 'bf16, compressed'] as const)('%s', (precision) => {
  let folder: string;
  let bytes: ModelBytes;
  let whole: Course;

  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'tierra-pairs-'));
    bytes = measure(saveScenario(built(), 'out', precision));
    // One engine at a time: a budget counts everything in the process.
    const run = startRun(path.join(folder, 'whole'), {}, precision);
    trainTo(run.engine, 2);
    whole = trainTo(run.engine, 4);
    await run[Symbol.asyncDispose]();
    for (const placement of precision === 'bf16, compressed' ? few : all) {
      const output = path.join(folder, nameOf(placement));
      await using saver = startRun(output, memoryOf(placement, bytes, path.join(folder, 'swap')), precision);
      trainTo(saver.engine, 2);
      await saver.checkpointer.save(nowhere);
      // Goes on while it is written, as a run does.
      trainTo(saver.engine, 3);
      await saver.checkpointer.finish();
    }
  }, 600_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(pairsOf[precision])('%s → %s', async (from, to) => {
    const memory = memoryOf(named(to), bytes, path.join(folder, 'swap'));
    await using run = startRun(path.join(folder, 'resumed'), memory, precision);
    const batch = batchOf(0);
    run.engine.prepare(batch as never, { together: true });
    drop(batch);
    run.load(path.join(folder, from, 'checkpoints', 'step-00000002'));
    expect(run.engine.steps).toBe(2);
    expect(trainTo(run.engine, 4)).toEqual(whole);
  });
});
