import { expect, test } from 'vitest';
import { createProgress, PlainProgress } from '../../../src/telemetry/index.ts';
import { FakeOutput } from './fakeOutput.ts';
import { begin, report, tellRun } from './run.ts';

test('a run in plain lines', () => {
  const output = new FakeOutput();
  tellRun(new PlainProgress(output, { logEvery: 3 }));
  expect(output.text).toMatchInlineSnapshot(`
    "tiny: 1.2M parameters, fp32 on cpu, 8 steps
    tokenized 3 files
    step 1/8  loss 4.5000  rate 3.00e-4  norm 0.912  - tokens/s  left -  gpu 48.0 MiB of 64.0 MiB  cpu 1.0 GiB of 4.0 GiB
    step 3/8  loss 3.5000  rate 3.00e-4  norm 0.912  12.3K tokens/s  left 2m 07s  gpu 48.0 MiB of 64.0 MiB  cpu 1.0 GiB of 4.0 GiB
    step 4: evaluation loss 3.2500
    step 4: saved runs/tiny/step-4
    warning: the disk is slow
    step 6/8  loss 2.0000  rate 3.00e-4  norm 0.912  12.3K tokens/s  left 2m 04s  gpu 48.0 MiB of 64.0 MiB  cpu 1.0 GiB of 4.0 GiB
    step 8/8  loss 1.0000  rate 3.00e-4  norm 0.912  12.3K tokens/s  left 2m 02s  gpu 48.0 MiB of 64.0 MiB  cpu 1.0 GiB of 4.0 GiB
    finished at step 8 after 2m 10s, checkpoint runs/tiny/step-8
    "
  `);
});

test('what is no number is shown as such', () => {
  const output = new FakeOutput();
  const progress = new PlainProgress(output, { logEvery: 1 });
  begin(progress);
  progress.step({ ...report(2, Number.NaN), gradientNorm: Number.POSITIVE_INFINITY, memory: [] });
  progress.finish({ outcome: 'interrupted', step: 2, seconds: 0.25, path: null });
  expect(output.text).toMatchInlineSnapshot(`
    "tiny: 1.2M parameters, fp32 on cpu, 8 steps
    step 2/8  loss NaN  rate 3.00e-4  norm Infinity  12.3K tokens/s  left 2m 08s
    stopped at step 2 after 250 ms, no checkpoint was saved
    "
  `);
});

test('an output that is no terminal gets plain lines without escape codes', () => {
  const output = new FakeOutput();
  tellRun(createProgress(output, { logEvery: 1 }));
  expect(output.text).not.toContain('\x1b');
  expect(output.text.split('\n').filter((line) => line.startsWith('step ') && line.includes('norm'))).toHaveLength(8);
});
