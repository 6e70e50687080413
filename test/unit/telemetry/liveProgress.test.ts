import { expect, test } from 'vitest';
import { LiveProgress } from '../../../src/telemetry/index.ts';
import { FakeOutput, screen } from './fakeOutput.ts';
import { begin, report, tellRun } from './run.ts';

const live = (output: FakeOutput, options: { color?: boolean; now?: () => number } = {}) =>
  new LiveProgress(output, { color: options.color ?? false, redrawMs: 0, ...(options.now && { now: options.now }) });

test('messages scroll by above one block that stays in place', () => {
  const output = new FakeOutput({ isTTY: true, columns: 80 });
  tellRun(live(output));
  expect(screen(output.text, 80)).toMatchInlineSnapshot(`
    "tiny: 1.2M parameters, fp32 on cpu, 8 steps
    tokenized 3 files
    step 4: evaluation loss 3.2500
    step 4: saved runs/tiny/step-4
    warning: the disk is slow
     step ████████████████████████████████  100%  8/8  left 2m 02s
     loss █▇▆▅▄▃▂▁                          1.0000  evaluation 3.2500 at 4
     rate 3.00e-4  norm 0.912  12.3K tokens/s
     gpu  ████████████████████████░░░░░░░░  48.0 MiB of 64.0 MiB
     cpu  ████████░░░░░░░░░░░░░░░░░░░░░░░░  1.0 GiB of 4.0 GiB
    finished at step 8 after 2m 10s, checkpoint runs/tiny/step-8
    "
  `);
});

test('before the first step the block says what is being trained', () => {
  const output = new FakeOutput({ isTTY: true });
  begin(live(output), 2);
  expect(screen(output.text, 80)).toMatchInlineSnapshot(`
    "tiny: 1.2M parameters, fp32 on cpu, 8 steps, from step 2
     step ████████░░░░░░░░░░░░░░░░░░░░░░░░   25%  2/8  left -
     loss waiting for the first step
     run  1.2M parameters, fp32 on cpu
    "
  `);
});

test('a narrow window shows shorter bars and never wraps', () => {
  const output = new FakeOutput({ isTTY: true, columns: 44 });
  const progress = live(output);
  begin(progress);
  for (let step = 1; step <= 4; step++) progress.step(report(step, 5 - step));
  const shown = screen(output.text, 44).split('\n');
  expect(shown.slice(-6)).toMatchInlineSnapshot(`
    [
      " step ██░░   50%  4/8  left 2m 06s",
      " loss █▆▃▁  1.0000",
      " rate 3.00e-4  norm 0.912  12.3K tokens/s",
      " gpu  ███░  48.0 MiB of 64.0 MiB",
      " cpu  █░░░  1.0 GiB of 4.0 GiB",
      "",
    ]
  `);
});

test('a block drawn wide is erased whole after the window became narrower', () => {
  const output = new FakeOutput({ isTTY: true, columns: 80 });
  const progress = live(output);
  begin(progress);
  progress.step(report(1, 4));
  const wide = screen(output.text, 80).split('\n');
  const block = wide.slice(1, -1);
  const rows = block.reduce((sum, line) => sum + Math.ceil(line.length / 40), 0);
  output.columns = 40;
  const before = output.text.length;
  progress.step(report(2, 3));
  expect(output.text.slice(before)).toContain(`\x1b[${rows}A`);
  expect(rows).toBeGreaterThan(block.length);
});

test('steps that come faster than the redraw time are drawn once', () => {
  let nowMs = 0;
  const output = new FakeOutput({ isTTY: true });
  const progress = new LiveProgress(output, { color: false, redrawMs: 100, now: () => nowMs });
  begin(progress);
  const before = output.writes;
  for (let step = 1; step <= 7; step++) {
    nowMs += 30;
    progress.step(report(step, 3));
  }
  expect(output.writes - before).toBe(1);
  progress.finish({ outcome: 'interrupted', step: 7, seconds: 1, path: null });
  expect(screen(output.text, 80)).toContain('7/8');
});

test('a run that breaks off leaves its last step on the screen', () => {
  const output = new FakeOutput({ isTTY: true });
  const progress = new LiveProgress(output, { color: false, redrawMs: 100, now: () => 0 });
  begin(progress);
  progress.step(report(5, 3));
  progress.dispose();
  expect(screen(output.text, 80)).toContain('5/8');
});

test('the cursor is hidden while the block lives and shown again once, however it ends', () => {
  for (const end of ['finish', 'dispose', 'both'] as const) {
    const output = new FakeOutput({ isTTY: true });
    const progress = live(output);
    begin(progress);
    if (end !== 'dispose') progress.finish({ outcome: 'completed', step: 8, seconds: 1, path: null });
    if (end !== 'finish') progress.dispose();
    expect(output.text.split('\x1b[?25l')).toHaveLength(2);
    expect(output.text.split('\x1b[?25h')).toHaveLength(2);
    const length = output.text.length;
    progress.dispose();
    expect(output.text).toHaveLength(length);
  }
});

test('without colour there is no style code, with colour the same screen', () => {
  const plain = new FakeOutput({ isTTY: true });
  tellRun(live(plain));
  const colored = new FakeOutput({ isTTY: true });
  tellRun(live(colored, { color: true }));
  // biome-ignore lint/suspicious/noControlCharactersInRegex: style codes are what is looked for
  const styles = /\x1b\[\d+m/;
  expect(plain.text).not.toMatch(styles);
  expect(colored.text).toMatch(styles);
  expect(screen(colored.text, 80)).toBe(screen(plain.text, 80));
});
