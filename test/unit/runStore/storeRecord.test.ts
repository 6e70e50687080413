/** What a run records, read back: resumed, rewound, beside another process, on a disk that refuses. */
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  checkpointsOf,
  evaluationsOf,
  eventsOf,
  memoryOf,
  movementOf,
  runDetails,
} from '../../../src/telemetry/runStore/details.ts';
import { findRun } from '../../../src/telemetry/runStore/find.ts';
import { piecesOf } from '../../../src/telemetry/runStore/pieces.ts';
import { pointsOf, totalOf } from '../../../src/telemetry/runStore/points.ts';
import { begin, reader, recordIn, row, scratch, withoutSqlite } from './support.ts';

/** Every step of a run as it stands, with the loss that was recorded. */
function stepsIn(file: string, id = 'small-1'): [number, number][] {
  const database = reader(file);
  return piecesOf(database, findRun(database, id).number).flatMap((piece) =>
    [...piece.columns().loss].map((loss, i): [number, number] => [piece.firstStep + i, loss]),
  );
}

const expected = (from: number, to: number, offset = 0): [number, number][] =>
  Array.from({ length: to - from + 1 }, (_, i) => [from + i, Math.fround(5 + offset - (from + i) / 1000)]);

describe.skipIf(withoutSqlite)('the record of a run', () => {
  it('holds everything that it was told', () => {
    const file = path.join(scratch(), 'runs', 'tierra.db');
    const record = recordIn(file, { git: { revision: 'abc', dirty: true } });
    record.event('before the first step', { kind: 'warning' });
    begin(record);
    expect(record.id).toBe('small-1');
    for (let step = 1; step <= 5; step++) record.step(row(step, { lossScale: 1024, clipFactor: step === 3 ? 0.5 : 1 }));
    record.evaluation({ step: 5, loss: 4.5 });
    record.checkpoint({ step: 5, path: 'small/checkpoints/step-5', bytes: 1000, seconds: 2, blockedSeconds: 0.1 });
    record.memory(5, [{ tier: 'gpu', usedBytes: 10, budgetBytes: 100 }]);
    record.memory(6, [{ tier: 'gpu', usedBytes: 90, budgetBytes: 100 }]);
    record.memory(7, [{ tier: 'gpu', usedBytes: 50, budgetBytes: 100 }]);
    record.event('a NaN', { kind: 'skip', step: 4, details: { parameter: 'w' } });
    const bytes = { bytes: 8, busySeconds: 0.1 };
    record.movement({
      plan: {
        parameters: { gpu: 1, host: 2, nvme: 3 },
        states: { gpu: 1, host: 2, nvme: 3 },
        gradients: { gpu: 1, host: 2, nvme: 3 },
        stepSeconds: 1,
        computeSeconds: 0.5,
        lanes: { read: bytes, write: bytes, toDevice: bytes, toHost: bytes, update: bytes },
        limit: 'disk',
      },
      steps: 4,
      stepSeconds: 1,
      computeSeconds: 0.5,
      lanes: { read: bytes, write: bytes, toDevice: bytes, toHost: bytes, update: bytes },
      waits: [{ cause: 'parameters from disk', seconds: 0.4 }],
    });
    record.finish('completed');
    record.dispose();

    const database = reader(file);
    const run = findRun(database, 'small');
    const [details] = runDetails(database, run.number);
    expect(details).toMatchObject({ id: 'small-1', name: 'small', output: 'small', parent: null });
    expect(details!.sessions).toHaveLength(1);
    expect(details!.sessions[0]).toMatchObject({
      cause: 'start',
      fromStep: 0,
      lastStep: 5,
      totalSteps: 10_000,
      outcome: 'completed',
      config: { seed: 1 },
      git: { revision: 'abc', dirty: true },
      machine: { cpu: 'a processor', device: 'cpu', precision: 'fp32' },
    });
    expect(stepsIn(file)).toEqual(expected(1, 5));
    const total = totalOf(pointsOf(piecesOf(database, run.number), 3));
    expect(total).toMatchObject({ firstStep: 1, steps: 5, clipped: 1, notFinite: 0, tokens: 640, seconds: 1.25 });
    expect(total!.lossLast).toBeCloseTo(4.995);
    expect(evaluationsOf(database, details!)).toMatchObject([{ step: 5, loss: 4.5 }]);
    expect(checkpointsOf(database, run.number)).toMatchObject([{ step: 5, bytes: 1000, blockedSeconds: 0.1 }]);
    expect(eventsOf(database, run.number)).toMatchObject([
      { step: 0, kind: 'warning', text: 'before the first step', details: null },
      { step: 4, kind: 'skip', text: 'a NaN', details: { parameter: 'w' } },
    ]);
    expect(memoryOf(database, 1)).toEqual([
      { tier: 'gpu', label: null, usedBytes: 50, mostBytes: 90, budgetBytes: 100 },
    ]);
    expect(movementOf(database, run.number)).toMatchObject({
      steps: 4,
      computeSeconds: 0.5,
      stalls: [{ cause: 'parameters from disk', seconds: 0.4 }],
      lanes: { read: bytes },
    });
  });

  it('keeps every step over many blocks, and merges what was written second by second', () => {
    const file = path.join(scratch(), 'tierra.db');
    const record = recordIn(file);
    begin(record);
    for (let step = 1; step <= 10_000; step++) {
      record.step(row(step));
      if (step % 100 === 0) record.flush();
    }
    expect(stepsIn(file)).toEqual(expected(1, 10_000));
    const counts = () => reader(file).prepare('SELECT count(*) AS n FROM tails').get();
    expect(counts()).toEqual({ n: 19 });
    record.finish('completed');
    expect(counts()).toEqual({ n: 0 });
    expect(stepsIn(file)).toEqual(expected(1, 10_000));
  });

  it('goes on after a resume: steps that are made again supersede the old ones', () => {
    const file = path.join(scratch(), 'tierra.db');
    const first = recordIn(file);
    begin(first);
    for (let step = 1; step <= 25; step++) first.step(row(step));
    first.evaluation({ step: 10, loss: 1 });
    first.evaluation({ step: 20, loss: 2 });
    first.flush();
    // Killed: nothing more is written. Back to the checkpoint of step 15.
    const second = recordIn(file);
    begin(second, 15, path.join(path.dirname(file), 'small', 'checkpoints', 'step-15'));
    expect(second.id).toBe('small-1');
    for (let step = 16; step <= 18; step++) second.step(row(step, { loss: 6 - step / 1000 }));
    second.evaluation({ step: 18, loss: 3 });
    second.finish('interrupted');
    expect(stepsIn(file)).toEqual([...expected(1, 15), ...expected(16, 18, 1)]);
    const database = reader(file);
    const [details] = runDetails(database, 1);
    expect(details!.sessions).toMatchObject([{ cause: 'start' }, { cause: 'resume', fromStep: 15, lastStep: 18 }]);
    expect(evaluationsOf(database, details!).map(({ step, loss }) => [step, loss])).toEqual([
      [10, 1],
      [18, 3],
    ]);
  });

  it('sees a rewind by itself, and a gap', () => {
    const file = path.join(scratch(), 'tierra.db');
    const record = recordIn(file);
    begin(record);
    for (let step = 1; step <= 8; step++) record.step(row(step));
    record.event('back to step 5', { kind: 'rewind' });
    for (let step = 6; step <= 7; step++) record.step(row(step, { loss: 6 - step / 1000 }));
    record.step(row(11));
    record.finish('completed');
    expect(stepsIn(file)).toEqual([...expected(1, 5), ...expected(6, 7, 1), ...expected(11, 11)]);
    expect(runDetails(reader(file))[0]!.sessions).toMatchObject([
      { cause: 'start', outcome: 'rewound', lastStep: 8 },
      { cause: 'rewind', outcome: 'completed', fromStep: 5, lastStep: 11 },
    ]);
  });

  it('is a new run from the start, and knows the run whose checkpoint it began with', () => {
    const folder = scratch();
    const file = path.join(folder, 'tierra.db');
    for (const id of ['small-1', 'small-2']) {
      const record = recordIn(file);
      begin(record);
      expect(record.id).toBe(id);
      record.finish('completed');
    }
    const fork = recordIn(file, { output: path.join(folder, 'fork'), name: 'fork' });
    begin(fork, 7, path.join(folder, 'small', 'checkpoints', 'step-7'));
    fork.finish('completed');
    expect(runDetails(reader(file))[2]).toMatchObject({ id: 'fork-1', parent: 'small-2', parentStep: 7 });
  });

  it('keeps NaN and infinities', () => {
    const file = path.join(scratch(), 'tierra.db');
    const record = recordIn(file);
    begin(record);
    record.step(row(1, { loss: Number.NaN, gradientNorm: Number.POSITIVE_INFINITY }));
    record.step(row(2));
    record.evaluation({ step: 2, loss: Number.NaN });
    record.finish('failed', 'the loss is NaN');
    expect(stepsIn(file)).toEqual([[1, Number.NaN], ...expected(2, 2)]);
    const database = reader(file);
    expect(totalOf(pointsOf(piecesOf(database, 1), 5))).toMatchObject({ notFinite: 1, normMax: 0.75 });
    expect(runDetails(database)[0]!.sessions[0]).toMatchObject({ outcome: 'failed', reason: 'the loss is NaN' });
  });

  it('does not drown in events of one kind', () => {
    const file = path.join(scratch(), 'tierra.db');
    const record = recordIn(file);
    begin(record);
    for (let step = 1; step <= 3000; step++) record.event('a NaN', { kind: 'skip', step });
    record.event('another thing', { kind: 'warning' });
    record.finish('completed');
    expect(eventsOf(reader(file), 1)).toHaveLength(501);
  });

  it('leaves nothing of a run that never begins', () => {
    const file = path.join(scratch(), 'tierra.db');
    const record = recordIn(file);
    record.event('the disk is full', { kind: 'warning' });
    record.finish('failed', 'no room');
    record.dispose();
    expect(runDetails(reader(file))).toEqual([]);
  });

  it('waits for nobody: what another process keeps from being written is written later', () => {
    const file = path.join(scratch(), 'tierra.db');
    const record = recordIn(file);
    begin(record);
    const other = reader(file);
    other.exec('BEGIN IMMEDIATE');
    for (let step = 1; step <= 3; step++) record.step(row(step));
    record.flush();
    expect(stepsIn(file)).toEqual([]);
    other.exec('COMMIT');
    record.flush();
    expect(stepsIn(file)).toEqual(expected(1, 3));
  });

  it('says once that it cannot be written, and the run goes on', () => {
    const file = path.join(scratch(), 'tierra.db');
    const told: string[] = [];
    const record = recordIn(file, { onTrouble: (text) => told.push(text) });
    begin(record);
    reader(file).exec('DROP TABLE tails');
    for (let step = 1; step <= 100; step++) {
      record.step(row(step));
      record.flush();
    }
    expect(told).toEqual([
      expect.stringMatching(/^the record of this run cannot be written \(.*no such table: tails\)/),
    ]);
    record.dispose();
  });

  it('refuses what is no store, and a folder that cannot be made', () => {
    const folder = scratch();
    const file = path.join(folder, 'text');
    writeFileSync(file, 'this is not a database, but long enough to look like one'.repeat(100));
    expect(() => recordIn(file)).toThrow(`${file} is not a run store`);
    expect(() => recordIn(path.join(file, 'below', 'tierra.db'))).toThrow(/cannot create the folder/);
    if (process.getuid?.() === 0) return;
    chmodSync(folder, 0o500);
    expect(() => recordIn(path.join(folder, 'new.db'))).toThrow('unable to open');
  });
});
