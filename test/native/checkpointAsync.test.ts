/** A checkpoint written behind training is of its step, to the bit, and costs training nothing but time. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { isTierraError } from '../../src/core/errors.ts';
import { Committer } from '../../src/engine/checkpoint/committer.ts';
import { verifyCheckpoint } from '../../src/engine/checkpoint/index.ts';
import { checkpointing } from '../../src/engine/checkpointing.ts';
import { native } from '../../src/native/load.ts';
import { type ModelBytes, placements } from '../cases/placements.ts';
import { built, nowhere, saveScenario, startRun, tensorsIn, trainTo } from './checkpointRuns.ts';
import { id, save, withExecutor } from './executorSupport.ts';
import { mib, pattern } from './swapSupport.ts';
import { measure, trainStep, withFolder } from './tiersSupport.ts';

afterEach(() => native().setFault(null));

describe('SHA-256 of a checkpoint file', () => {
  it('is the same by both implementations and as Node has it', async () => {
    const { createHash } = await import('node:crypto');
    for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 128, 1000, 100_000]) {
      const bytes = Uint8Array.from({ length }, (_, i) => (i * 37 + length) & 0xff);
      const expected = createHash('sha256').update(bytes).digest('hex');
      expect(native().sha256(bytes, true), `plain, ${length}`).toBe(expected);
      expect(native().sha256(bytes, false), `fast, ${length}`).toBe(expected);
    }
  });

  it('is that of what lies in the file, also where pieces are hashed beside being written', async () => {
    const { createHash } = await import('node:crypto');
    await withFolder(async (folder) => {
      const [most, file] = [9 * mib + 5, path.join(folder, 'file')];
      withExecutor({}, ({ arena, executor }) => {
        native().arenaWrite(arena, 0, pattern(most, 3));
        const written = native().appendOpen(file);
        const pieces = [most, 7, 4 * mib, 5 * mib].map((bytes) => ({ file: written, offset: 0, bytes }));
        native().submit(executor, [save(1, arena, { pieces }), save(2, arena, { after: [id(1)], finish: [written] })]);
        native().wait(executor, [id(2)], 'test');
        const { bytes, sha256 } = native().appendResult(written)!;
        native().appendClose(written);
        const found = readFileSync(file);
        expect(found.length).toBe(bytes);
        expect(bytes).toBe(pieces.reduce((sum, piece) => sum + piece.bytes, 0));
        expect(sha256).toBe(createHash('sha256').update(found).digest('hex'));
        expect(Buffer.compare(found.subarray(0, most), pattern(most, 3))).toBe(0);
      });
    });
  });
});

describe.each(['fp32', 'bf16'] as const)('%s, saved behind training', (precision) => {
  let bytes: ModelBytes;
  let oracle: { saved: Record<string, string>; end: ReturnType<typeof trainTo> };

  beforeAll(async () => {
    bytes = measure(saveScenario(built(), 'out', precision));
    await withFolder(async (folder) => {
      await using run = startRun(path.join(folder, 'out'), {}, precision);
      trainTo(run.engine, 2);
      await run.checkpointer.save(nowhere, 1);
      await run.checkpointer.finish();
      const end = trainTo(run.engine, 5);
      oracle = { saved: tensorsIn(run.path(2)), end };
    });
  }, 600_000);

  const cases = [null, ...placements];
  it.each(cases.map((placement) => [placement?.name ?? 'everything resident', placement] as const))(
    '%s',
    async (_name, placement) => {
      await withFolder(async (folder) => {
        const memory = placement?.memory(bytes, path.join(folder, 'swap')) ?? {};
        // A buffer far smaller than the state, and a slow disk: training must wait for copies.
        await using run = startRun(path.join(folder, 'out'), { ...memory, checkpoint: '100KiB' }, precision);
        trainTo(run.engine, 2);
        native().setFault('save.write:slow@every=3');
        await run.checkpointer.save(nowhere, 1);
        const end = trainTo(run.engine, 5);
        await run.checkpointer.finish();
        expect(run.failures).toEqual([]);
        await verifyCheckpoint(run.path(2));
        expect(tensorsIn(run.path(2))).toEqual(oracle.saved);
        expect(end).toEqual(oracle.end);
        expect(run.reports).toMatchObject([{ step: 2 }]);
      });
    },
  );
});

it.each([
  ['saves on its way', 2, true],
  ['saves at its end alone', 5, false],
  ['never asked for one', null, false],
] as const)('a run that %s has buffer and thread before its first step: %s, %s', async (_, saveEvery, isTaken) => {
  await withFolder(async (folder) => {
    await using run = startRun(path.join(folder, 'out'), { gpu: '1GiB', cpu: '1GiB' });
    trainTo(run.engine, 1);
    const { config } = run.engine.context;
    const context = { built: built(), config: { ...config, train: { ...config.train, saveEvery } }, totalSteps: 4 };
    const { hook, checkpointer } = checkpointing(run.engine, context, { position: () => nowhere }, null as never);
    using started = vi.spyOn(Committer.prototype, 'start');
    using touched = vi.spyOn(native(), 'arenaFill');
    await hook.beforeTrain!(null as never);
    expect(checkpointer.bufferBytes > 0).toBe(isTaken);
    expect(started).toHaveBeenCalledTimes(isTaken ? 1 : 0);
    // A buffer whose pages the first save must find holds that up.
    expect(touched.mock.calls.map(([, , bytes]) => bytes)).toEqual(isTaken ? [checkpointer.bufferBytes] : []);
    await checkpointer.dispose();
  });
});

it('a disk that fails costs the checkpoint only: the one before stays, training and the next save go on', async () => {
  await withFolder(async (folder) => {
    const output = path.join(folder, 'out');
    const bytes = measure(saveScenario(built(), 'out'));
    const memory = { gpu: bytes.other + Math.round(0.25 * bytes.chunks), cpu: '1GiB' };
    // One engine at a time: a budget counts everything in the process.
    const quiet = startRun(path.join(folder, 'quiet'), {});
    const expected = trainTo(quiet.engine, 5);
    await quiet[Symbol.asyncDispose]();
    await using run = startRun(output, { ...memory, checkpoint: '100KiB' });
    trainTo(run.engine, 1);
    await run.checkpointer.save(nowhere);
    await run.checkpointer.settle();
    for (const [step, fault] of [
      [2, 'save.write:ENOSPC@k=5'],
      [3, 'save.fsync:EIO@k=2'],
    ] as const) {
      native().setFault(fault);
      trainTo(run.engine, step);
      await run.checkpointer.save(nowhere);
      await expect(run.checkpointer.finish()).rejects.toMatchObject({
        code: 'E_IO',
        message: expect.stringMatching(
          new RegExp(
            `^the checkpoint of step ${step} was not written: .*\\.safetensors: cannot (write|flush to disk): E`,
          ),
        ),
        hint: expect.stringMatching(/full|hardware/),
      });
      native().setFault(null);
      expect(isTierraError(run.failures.at(-1), 'E_IO')).toBe(true);
      expect(readdirSync(path.join(output, 'checkpoints'))).toEqual(['step-00000001']);
    }
    native().setFault('save.write:short@every=2');
    trainTo(run.engine, 4);
    await run.checkpointer.save(nowhere);
    await run.checkpointer.finish();
    await verifyCheckpoint(run.path(4));
    trainStep(run.engine);
    expect(trainTo(run.engine, 5).hashes).toEqual(expected.hashes);
  });
});

it('steps that are dropped or not finite wait for the checkpoint under way', async () => {
  await withFolder(async (folder) => {
    const bytes = measure(saveScenario(built(), 'out'));
    const memory = placements.find(({ name }) => name === 'parameters and states mostly on disk')!;
    const quiet = startRun(path.join(folder, 'quiet'), {});
    trainTo(quiet.engine, 2);
    await quiet.checkpointer.save(nowhere);
    await quiet.checkpointer.finish();
    trainStep(quiet.engine, Number.NaN);
    const expected = trainTo(quiet.engine, 5);
    await quiet[Symbol.asyncDispose]();
    await using run = startRun(path.join(folder, 'out'), {
      ...memory.memory(bytes, path.join(folder, 'swap')),
      checkpoint: '100KiB',
    });
    trainTo(run.engine, 2);
    native().setFault('save.write:slow@every=2');
    await run.checkpointer.save(nowhere);
    trainStep(run.engine, Number.NaN);
    const end = trainTo(run.engine, 5);
    await run.checkpointer.finish();
    expect(tensorsIn(run.path(2))).toEqual(tensorsIn(quiet.path(2)));
    expect(end).toEqual(expected);
  });
});
