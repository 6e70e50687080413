/** The watchdog and the second signal, in processes whose JavaScript thread is stuck. */
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { expect, it } from 'vitest';
import { compiled } from '../compiled.ts';

const root = path.resolve(import.meta.dirname, '../..');

/** Runs `body` with `native` at hand; `stuck` blocks the thread as a call into a library would. */
function script(body: string): {
  child: ChildProcess;
  ended: Promise<{ code: number | null; stderr: string }>;
  ready: Promise<void>;
} {
  const text = `
    import { native as open } from ${JSON.stringify(compiled('src/native/load.ts'))};
    const native = open();
    const stuck = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    ${body}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', text], { cwd: root });
  let stderr = '';
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
  });
  const ready = new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
  const ended = new Promise<{ code: number | null; stderr: string }>((resolve) =>
    child.on('close', (code) => resolve({ code, stderr })),
  );
  return { child, ended, ready };
}

it('says what is unfinished and what it waits for', async () => {
  const { ended } = script(`
    const executor = native.executorCreate({ device: -1, updateThreads: 1, scaleCells: 1, timelineCapacity: 8 });
    const arena = native.arenaCreate('host', 8192, 0, false);
    const places = { source: arena, sourceOffset: 0, target: arena, targetOffset: 4096, bytes: 4096 };
    const ticket = { id: 1, after: [], afterMoment: 7, afterCell: -1, cause: 'fetch', chunk: 3, step: 2 };
    native.submit(executor, [{ ...ticket, ...places, lane: 'toDevice' }]);
    native.watchdogStart(0.2);
    native.watchdogBeat('forward of step 12');
    stuck(1500);
    native.watchdogStop();
    native.executorDestroy(executor);`);
  const { code, stderr } = await ended;
  expect(code).toBe(0);
  expect(stderr).toContain('in: forward of step 12\n');
  expect(stderr).toContain('executor 1: 1 transfers and updates unfinished\n');
  expect(stderr).toContain('1 toDevice of chunk 3 (fetch): waiting for compute of moment 7\n');
});

it('is quiet while something happens, and when nobody watches', async () => {
  const { ended } = script(`
    native.watchdogBeat('nobody watches');
    native.watchdogStart(60);
    for (let i = 0; i < 5; i++) { native.watchdogBeat('step ' + i); stuck(20); }
    native.watchdogStart(30);
    native.watchdogStop();
    native.watchdogStop();`);
  expect(await ended).toEqual({ code: 0, stderr: '' });
});

it.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('the second %s ends a process whose thread is stuck', async (signal, code) => {
  const { child, ended, ready } = script(`
    process.on('${signal}', () => {});
    native.quitOnSecondSignal(true);
    console.log('ready');
    await new Promise((resolve) => setTimeout(resolve, 50));
    stuck(100_000);`);
  await ready;
  child.kill(signal);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(child.exitCode).toBeNull();
  child.kill(signal);
  expect((await ended).code).toBe(code);
});
