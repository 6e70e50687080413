/** Memory that runs out: where, of what, and what to change is said; the run and its last checkpoint are as they were. */
import path from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { isTierraError, type TierraError } from '../../src/core/errors.ts';
import { verifyCheckpoint } from '../../src/engine/checkpoint/index.ts';
import { native } from '../../src/native/load.ts';
import { placementNamed } from '../cases/placements.ts';
import { built, nowhere, saveScenario, startRun, trainTo } from './checkpointRuns.ts';
import { batchOf, drop, measure, trainStep, withFolder } from './tiersSupport.ts';

afterEach(() => native().setFault(null));

const shortOfMemory = (body: () => unknown): TierraError => {
  try {
    body();
  } catch (error) {
    if (isTierraError(error, 'E_OUT_OF_MEMORY')) return error;
    throw error;
  }
  throw new Error('there was enough');
};

const bytes = measure(saveScenario(built(), 'out'));

it('in the middle of a step: the unit, the need, the budget and the setting; then the run goes on to the same bits', async () => {
  await withFolder(async (folder) => {
    const memory = placementNamed('tight GPU').memory(bytes, path.join(folder, 'swap'));
    const quiet = startRun(path.join(folder, 'quiet'), memory);
    const expected = trainTo(quiet.engine, 4);
    await quiet[Symbol.asyncDispose]();
    await using run = startRun(path.join(folder, 'out'), memory);
    trainTo(run.engine, 2);
    await run.checkpointer.save(nowhere);
    await run.checkpointer.finish();
    const { budgetBytes } = run.engine.store.use().find(({ tier }) => tier === 'gpu')!;
    const before = native().memoryStats('cpu');
    native().setMemoryCap('cpu', before.allocatedBytes + 20_000);
    const error = shortOfMemory(() => trainStep(run.engine));
    expect(error.message).toMatch(
      /^forward of step 3, unit \S+ forward: [\d.]+ KiB are needed at once, [\d.]+ \w+ of the [\d.]+ \w+ that memory\.gpu \([\d.]+ \w+\) leaves for computing are in use$/,
    );
    expect(error.hint).toMatch(
      /^Less is live at once with .* Or set memory\.gpu to at least \d+MiB\. The last checkpoint /,
    );
    expect(error.details).toMatchObject({ doing: 'forward of step 3', budgetBytes, need: expect.any(Number) });
    await verifyCheckpoint(run.path(2));
    native().setMemoryCap('cpu', null);
    run.engine.zeroGrad();
    expect(trainTo(run.engine, 4).hashes).toEqual(expected.hashes);
  });
});

it.each([
  ['memory.gpu', 2],
  ['memory.cpu', 3],
])(
  'when the machine refuses what the plan takes of %s: nothing is kept, and the next try works',
  async (setting, k) => {
    await withFolder(async (folder) => {
      const memory = placementNamed('tight GPU').memory(bytes, path.join(folder, 'swap'));
      await using run = startRun(path.join(folder, 'out'), memory);
      const batch = batchOf(0);
      native().setFault(`arena.map:ENOMEM@k=${k}`);
      const arenas = native().liveArenas();
      const error = shortOfMemory(() => run.engine.prepare(batch as never));
      native().setFault(null);
      expect(error.message).toMatch(
        new RegExp(
          `^preparation of step 1: the plan's part of ${setting.replace('.', '\\.')} \\([\\d.]+ \\w+\\): the system refuses [\\d.]+ \\w+ of host memory: ENOMEM`,
        ),
      );
      expect(error.hint).toMatch(/^Lower memory\.cpu .* are free now\./);
      expect(error.details).toMatchObject({ setting, need: expect.any(Number) });
      expect(native().liveArenas()).toBe(arenas);
      run.engine.prepare(batch as never);
      drop(batch);
      trainTo(run.engine, 1);
    });
  },
);
