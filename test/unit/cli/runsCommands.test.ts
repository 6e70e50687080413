/** `tierra runs`: what a person sees, on a wide and a narrow terminal and through a pipe. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { begin, recordIn, row, scratch, withoutSqlite } from '../runStore/support.ts';
import { runCli } from './runCli.ts';

/** Two runs, the second one with another learning rate, resumed once, and with trouble. */
function store(): string {
  const file = path.join(scratch(), 'tierra.db');
  const config = (learningRate: number) => ({ optimizer: { learningRate }, memory: { gpu: 2 ** 31 } });
  const first = recordIn(file, { config: config(1e-3) });
  begin(first);
  for (let step = 1; step <= 50; step++) first.step(row(step));
  first.evaluation({ step: 50, loss: 4.9 });
  first.finish('completed');
  const second = recordIn(file, { config: config(3e-3), git: { revision: '0123456789abcdef', dirty: true } });
  begin(second);
  for (let step = 1; step <= 30; step++) second.step(row(step, { loss: 4 }));
  second.finish('interrupted');
  const resumed = recordIn(file, { config: config(3e-3), git: { revision: '0123456789abcdef', dirty: true } });
  begin(resumed, 20);
  for (let step = 21; step <= 40; step++)
    resumed.step(row(step, { loss: step === 25 ? Number.NaN : 3, clipFactor: 0.5 }));
  for (let index = 1; index <= 20; index++) resumed.event(`trouble ${index}`, { kind: 'skip', step: 25 });
  resumed.memory(40, [{ tier: 'gpu', usedBytes: 2 ** 30, budgetBytes: 2 ** 31 }]);
  const path40 = 'runs/small/checkpoints/step-00000040';
  resumed.checkpoint({ step: 40, path: path40, bytes: 3 * 2 ** 20, seconds: 0.5, blockedSeconds: 0.002 });
  resumed.finish('failed', 'the disk is full');
  return file;
}

const lines = (text: string): string[] => text.split('\n').map((line) => line.trimEnd());

describe.skipIf(withoutSqlite)('tierra runs', () => {
  it('ls lists the newest first, and leaves out columns that have no room', async () => {
    const file = store();
    const wide = await runCli(['runs', 'ls', '--store', file]);
    expect(wide.code).toBe(0);
    expect(lines(wide.stdout)).toEqual([
      expect.stringMatching(/^run +started +took +steps +loss +outcome$/),
      expect.stringMatching(/^small-2 {2}\d{4}-\d\d-\d\d \d\d:\d\d +\S.*s {2}40\/10000 {2}3\.0000 {2}failed$/),
      expect.stringMatching(/^small-1 {2}\d{4}-\d\d-\d\d \d\d:\d\d +\S.*s {2}50\/10000 {2}4\.9500 {2}completed$/),
      '',
    ]);
    const narrow = await runCli(['runs', 'ls', '--store', file], { isTTY: true, columns: 40 });
    expect(lines(narrow.stdout)[0]).toMatch(/^run +steps +loss +outcome$/);
    for (const line of lines(narrow.stdout)) expect(line.length).toBeLessThanOrEqual(40);
  });

  it('show tells sessions, curves, memory and events', async () => {
    const file = store();
    const { code, stdout } = await runCli(['runs', 'show', 'small', '--store', file]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^small-2 {2}failed {2}step 40\/10000 in /);
    expect(stdout).toMatch(/reason +the disk is full/);
    expect(stdout).toMatch(/started; interrupted at step 30/);
    expect(stdout).toMatch(/resumed at step 20; failed at step 40/);
    expect(stdout).toMatch(/git +0123456789ab with changes/);
    expect(stdout).toMatch(
      /checkpoint +runs\/small\/checkpoints\/step-00000040\n +3\.0 MiB in 500 ms, of which training stood still for 2\.0 ms\n/,
    );
    expect(stdout).toMatch(/loss +\S+ +4.0000 → 3.0000, least 3.0000/);
    expect(stdout).toMatch(/norm .*50% clipped/);
    expect(stdout).toMatch(/1 of 40 steps had an infinite or NaN/);
    expect(stdout).toMatch(/gpu +█+░+ {2}most 1.0 GiB of 2.0 GiB/);
    expect(stdout).toContain('12 earlier ones with --events');
    expect(stdout).not.toContain('trouble 12\n');
    expect(stdout).toMatch(/[⠁-⣿]/);
    expect(stdout).not.toMatch(/NaN(?! loss)/);
    const all = await runCli(['runs', 'show', 'small-2', '--events', '--store', file]);
    expect(all.stdout).toContain('trouble 1\n');
    const narrow = await runCli(['runs', 'show', 'latest', '--store', file], { isTTY: true, columns: 36 });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are escape codes
    for (const line of lines(narrow.stdout.replace(/\x1b\[\d+m/g, ''))) expect(line.length).toBeLessThanOrEqual(36);
  });

  it('compare draws both, and names what differs', async () => {
    const { code, stdout } = await runCli(['runs', 'compare', 'small-1', 'small-2', '--store', store()]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^a {2}small-1 +50\/10000 +4.9500 +4.9000 /m);
    expect(stdout).toMatch(/^optimizer.learningRate +0.001 +0.003$/m);
    expect(stdout).toMatch(/^git +- +0123456789ab with changes$/m);
    expect(stdout).not.toContain('memory.gpu');
    expect(stdout).toMatch(/^ +40 +4.9600 +3.0000 +-1.9600$/m);
    expect(stdout).toMatch(/┤a+/);
  });

  it('export writes what was recorded, superseded steps left out', async () => {
    const file = store();
    const csv = await runCli(['runs', 'export', 'small-2', '--csv', '--store', file]);
    const rows = csv.stdout.trimEnd().split('\n');
    expect(rows).toHaveLength(41);
    expect(rows[0]).toBe('step,loss,gradient_norm,clip_factor,learning_rate,loss_scale,tokens,seconds,session');
    expect(rows[20]).toBe('20,4,1.25,1,0.0003,,128,0.25,1');
    expect(rows[25]).toBe('25,nan,1,0.5,0.0003,,128,0.25,2');
    const out = path.join(path.dirname(file), 'run.json');
    expect(await runCli(['runs', 'export', 'small-2', '--json', '--out', out, '--store', file])).toMatchObject({
      code: 0,
      stdout: '',
    });
    const json = JSON.parse(readFileSync(out, 'utf8'));
    expect(json).toMatchObject({ format: 'tierra-run', version: 1, id: 'small-2', events: { length: 20 } });
    expect(json.steps).toHaveLength(40);
    expect(json.steps[24]).toEqual({
      step: 25,
      loss: 'NaN',
      gradientNorm: 1,
      clipFactor: 0.5,
      learningRate: 0.0003,
      lossScale: null,
      tokens: 128,
      seconds: 0.25,
      session: 2,
    });
  });

  it('says what is near what it does not know', async () => {
    const file = store();
    const said = async (...argv: string[]): Promise<string> => {
      const { code, stderr } = await runCli([...argv, '--store', file]);
      expect(code).not.toBe(0);
      return stderr;
    };
    expect(await said('runs', 'show', 'smal-2')).toContain('there is no run "smal-2"\n  Did you mean small-2?');
    expect(await said('runs', 'show', 'sm')).toContain('sm is the beginning of 2 runs: small-2, small-1');
    expect(await said('runs', 'show', 'elephant')).toContain('Runs: small-2, small-1.');
    expect(await said('runs', 'export', 'small')).toContain('give one of --csv and --json');
    const nowhere = await runCli(['runs', 'ls', '--store', `${file}.missing`]);
    expect(nowhere).toMatchObject({ code: 1, stderr: expect.stringContaining('no run store at') });
  });
});
