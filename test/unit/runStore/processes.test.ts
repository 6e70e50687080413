/** Real processes: killed, and two at once. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { runDetails } from '../../../src/telemetry/runStore/details.ts';
import { openStore } from '../../../src/telemetry/runStore/openStore.ts';
import { piecesOf } from '../../../src/telemetry/runStore/pieces.ts';
import { program } from '../../compiled.ts';
import { reader, scratch, withoutSqlite } from './support.ts';

function start(file: string, name: string, from: number, steps: number) {
  const [node, ...script] = program('test/unit/runStore/endless.ts');
  const child: ChildProcess = spawn(node!, [...script, file, name, String(from), String(steps)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  let said = '';
  child.stdout!.on('data', (data: Buffer) => {
    printed += data.toString();
  });
  child.stderr!.on('data', (data: Buffer) => {
    said += data.toString();
  });
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, said }));
  /** Step and time of each whole line. */
  const steps_ = (): [number, number][] =>
    printed
      .split('\n')
      .slice(0, -1)
      .map((line) => line.split(' ').map(Number) as [number, number]);
  return { child, ended, steps: steps_ };
}

function storedSteps(file: string, run = 1): number[] {
  return piecesOf(reader(file), run).flatMap(({ firstStep, steps }) =>
    Array.from({ length: steps }, (_, i) => firstStep + i),
  );
}

const upTo = (last: number): number[] => Array.from({ length: last }, (_, i) => i + 1);

describe.skipIf(withoutSqlite)('processes and their store', () => {
  it('a killed process loses at most its last second, and the next one goes on', { timeout: 120_000 }, async () => {
    const file = path.join(scratch(), 'runs', 'tierra.db');
    let from = 0;
    for (const patience of [400, 40, 700]) {
      const { child, ended, steps } = start(file, 'endless', from, 1e6);
      while (steps().length < patience) await new Promise((resolve) => setTimeout(resolve, 20));
      child.kill('SIGKILL');
      expect(await ended).toEqual({ code: null, signal: 'SIGKILL', said: '' });
      const printed = steps();
      const [, lastMs] = printed.at(-1)!;
      const stored = storedSteps(file);
      // Whole and in order, whatever its end is.
      expect(stored).toEqual(upTo(stored.length));
      const old = printed.filter(([, atMs]) => atMs <= lastMs - 1000).at(-1)?.[0] ?? 0;
      expect(stored.length).toBeGreaterThanOrEqual(old);
      expect(reader(file).pragma('integrity_check', { simple: true })).toBe('ok');
      // As if the newest checkpoint were some steps older.
      from = Math.max(from, stored.length - 5);
    }
    const { outcome, cause } = runDetails(reader(file))[0]!.sessions.at(-1)!;
    expect({ outcome, cause }).toEqual({ outcome: 'killed', cause: 'resume' });
  });

  it('two processes write to one store at the same time', { timeout: 120_000 }, async () => {
    const file = path.join(scratch(), 'tierra.db');
    const both = [start(file, 'left', 0, 400), start(file, 'right', 0, 400)];
    for (const { ended } of both) expect(await ended).toEqual({ code: 0, signal: null, said: '' });
    const runs = runDetails(reader(file));
    expect(runs.map(({ id }) => id).sort()).toEqual(['left-1', 'right-1']);
    for (const { number, sessions } of runs) {
      expect(storedSteps(file, number)).toEqual(upTo(400));
      expect(sessions).toMatchObject([{ outcome: 'completed', lastStep: 400 }]);
    }
  });

  it('a new store is waited for while another process looks at it', { timeout: 60_000 }, async () => {
    const file = path.join(scratch(), 'tierra.db');
    const holder = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
       const database = require('better-sqlite3')(workerData);
       database.exec('BEGIN; CREATE TABLE other (x)');
       parentPort.postMessage('held');
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
       database.exec('ROLLBACK');
       database.close();`,
      { eval: true, workerData: file },
    );
    await once(holder, 'message');
    expect(() => openStore(file, { busyMs: 0 })).toThrow(expect.objectContaining({ code: 'E_IO' }));
    openStore(file, { busyMs: 30_000 }).close();
    await once(holder, 'exit');
  });
});
