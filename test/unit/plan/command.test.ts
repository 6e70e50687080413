import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { runCli } from '../cli/runCli.ts';
import { useWorkingFolder, write } from '../config/files.ts';

useWorkingFolder();

const machine =
  '--gpu-memory 24GiB --cpu 128GiB --nvme 2TB --pcie 25 --disk-read 7 --disk-write 6 --dram 80 --tflops 150';
const flags = machine.split(' ');

/** Seventy billion parameters, far beyond what the machine above has in memory. */
function writeLarge(batchSize: number): void {
  write(
    'run.yaml',
    `model: { preset: llama-3-70b, overrides: { vocab_size: 128256 } }
data: { sequenceLength: 4096 }
train: { steps: 100, batchSize: ${batchSize} }
memory: { activations: recompute }
`,
  );
}

const small = 'model: { preset: gpt2 }\ntrain: { steps: 10 }\n';

test('a model on three tiers of a described machine: what fits where, how fast, and why not faster', async () => {
  writeLarge(1);
  const { code, stdout, stderr } = await runCli(['plan', 'run.yaml', ...flags]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatchInlineSnapshot(`
    "llama, 70.6B parameters in 80 layers, bf16
    1 sequence of 4096 tokens a step, activations recomputed

    It fits: 4m 47s a step, 14 tokens/s, limited by the disk.

    Memory
               budget    at rest    at peak   of budget
      GPU    24.0 GiB    8.1 GiB   23.9 GiB        100%
      host    128 GiB   88.7 GiB    127 GiB         99%
      disk    1.8 TiB    823 GiB    1.6 TiB         91%

    What lives where
                             total             GPU            host            disk
      parameters           131 GiB    1.2 GiB  <1%   88.7 GiB  67%   41.6 GiB  32%
      optimizer states     788 GiB    6.9 GiB  <1%   96.0 KiB  <1%    782 GiB  99%
      gradients           41.6 GiB               -               -   41.6 GiB 100%
      activations, work   11.2 GiB   11.2 GiB 100%               -               -
      buffers              866 GiB    4.6 GiB  <1%   37.9 GiB   4%    823 GiB  95%

    A step of 4m 47s
      computing                                        16.22 s     6%
      waiting for optimizer states from and to disk     3m 44s    78%
      waiting for parameters on their way to the GPU   18.92 s     7%
      waiting for updated parameters going to disk     12.36 s     4%
      waiting for gradients moving to and from disk    11.64 s     4%
      waiting for gradients leaving the GPU             1.91 s    <1%
      waiting for the optimizer on the host             1.81 s    <1%
      at best, by the disk                              4m 47s   100%

    Moved in a step
      host to GPU                    257 GiB    4% busy
      GPU to host                    130 GiB    2% busy
      read from disk                 864 GiB   98% busy
      written to disk                865 GiB   96% busy
      optimizer on the host                    11% busy
      disk wear at this pace   254 TiB a day

    Machine as described; what no flag gives is assumed
      150 TFLOP/s, GPU link 25 GB/s, host memory 80 GB/s, optimizer 2.1B parameters/s, disk 7.0 GB/s in and 6.0 GB/s out (at once 3.2 GB/s and 3.2 GB/s)
    "
  `);
}, 180_000);

test('a model that is too large is refused with its needs and the smallest changes that help', async () => {
  writeLarge(4);
  const { code, stdout, stderr } = await runCli(['plan', 'run.yaml', ...flags]);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatchInlineSnapshot(`
    "gpu is short by 6.2 GiB before any chunk is placed: activations, workspace and context need 30.2 GiB of 24.0 GiB
      The smallest change that makes it fit: raise memory.gpu to 34.0 GiB (now 24.0 GiB). Or: set train.batchSize: 2, which is a smaller batch.
    "
  `);
}, 180_000);

test('what the hint proposes does fit', async () => {
  write('run.yaml', small);
  const refused = await runCli(['plan', 'run.yaml', '--gpu-memory', '1536MiB', '--cpu', '4GiB']);
  expect(refused.code).toBe(1);
  const raised = /raise memory\.gpu to ([\d.]+) (MiB|GiB)/.exec(refused.stderr);
  expect(raised, refused.stderr).not.toBeNull();
  const [, size, unit] = raised!;
  // The size is printed rounded to a tenth.
  const enough = await runCli(['plan', 'run.yaml', '--gpu-memory', `${Number(size) + 0.1}${unit}`, '--cpu', '4GiB']);
  expect(enough).toMatchObject({ code: 0, stderr: '' });
  // One of the other ways, taken at its word.
  const way = /Or: set ([^;]+?)(; or .*)?\.\n/.exec(refused.stderr)?.[1];
  expect(way, refused.stderr).toBeDefined();
  const sets = [...way!.matchAll(/([\w.]+): (\w+)/g)].map(([, field, value]) => `${field}=${value}`);
  expect(sets).not.toEqual([]);
  const other = await runCli([
    ...['plan', 'run.yaml', '--gpu-memory', '1536MiB', '--cpu', '4GiB'],
    ...sets.flatMap((set) => ['--set', set]),
  ]);
  expect(other).toMatchObject({ code: 0, stderr: '' });
}, 180_000);

test('--json gives numbers that add up, --out the plan they come from', async () => {
  write('run.yaml', small);
  const { code, stdout } = await runCli([
    ...['plan', 'run.yaml', '--gpu-memory', '2304MiB', '--cpu', '4GiB', '--pcie', '25', '--json', '--out', 'plan.json'],
  ]);
  expect(code).toBe(0);
  const summary = JSON.parse(stdout);
  expect(summary).toMatchObject({
    version: 1,
    machine: { source: 'described', linkBytes: 25e9 },
    model: { family: 'gpt2', parameters: 86_039_808, layers: 12 },
    step: { sequences: 8, sequenceLength: 256, microBatches: 1, tokens: 2048, dtype: 'bfloat16', activations: 'keep' },
    tiers: {
      gpu: { budgetBytes: 2304 * 2 ** 20 },
      host: { budgetBytes: 2 ** 32 },
      nvme: { budgetBytes: 0, peakBytes: 0 },
    },
  });
  for (const tier of Object.values(summary.tiers) as Record<string, number>[]) {
    const {
      parameterBytes,
      stateBytes,
      gradientBytes,
      activationBytes,
      bufferBytes,
      restBytes,
      peakBytes,
      budgetBytes,
    } = tier;
    expect(parameterBytes! + stateBytes!).toBe(restBytes);
    expect(restBytes! + gradientBytes! + activationBytes! + bufferBytes!).toBe(peakBytes);
    expect(peakBytes!).toBeLessThanOrEqual(budgetBytes!);
    expect(Math.min(gradientBytes!, activationBytes!, bufferBytes!)).toBeGreaterThanOrEqual(0);
  }
  const states = Object.values(summary.tiers as Record<string, { stateBytes: number }>).reduce(
    (sum, t) => sum + t.stateBytes,
    0,
  );
  expect(states).toBeGreaterThanOrEqual(12 * 86_039_808);
  expect(summary.tokensPerSecond).toBeCloseTo(2048 / summary.stepSeconds, 3);
  const stalls = Object.values(summary.stallSeconds as Record<string, number>).reduce((sum, s) => sum + s, 0);
  expect(summary.computeSeconds + stalls).toBeCloseTo(summary.stepSeconds, 6);
  const plan = JSON.parse(readFileSync('plan.json', 'utf8'));
  expect(plan).toMatchObject({ version: 1, mode: 'training', policy: 'auto' });
  expect(plan.forecast.stepSeconds).toBe(summary.stepSeconds);
}, 180_000);

test.each([
  [['--pcie', 'fast'], 2, 'plan: --pcie: expected a number > 0, got "fast"'],
  [['--tflops', '-3'], 2, 'plan: --tflops: expected a number > 0, got "-3"'],
  [['--cpu', 'lots'], 1, '--cpu lots: memory.cpu: expected auto, or a size such as 8GiB or 500MB, got "lots"'],
  [['--gpu-memory'], 2, 'plan: --gpu-memory needs a value'],
  [['--gpu-mem', '1GiB'], 2, 'plan: unknown option --gpu-mem'],
  [['--set', 'memory.gpu=many'], 1, 'memory.gpu: expected auto, or a size'],
])('%j is refused', async (given, code, message) => {
  write('run.yaml', small);
  const outcome = await runCli(['plan', 'run.yaml', ...given]);
  expect(outcome).toMatchObject({ code, stdout: '' });
  expect(outcome.stderr).toContain(message);
});

test('a configuration without a model cannot be planned', async () => {
  write('run.yaml', 'train: { steps: 10 }\n');
  const outcome = await runCli(['plan', 'run.yaml', '--cpu', '1GiB']);
  expect(outcome.code).toBe(1);
  expect(outcome.stderr).toContain('model: nothing to plan for');
});

test('a faster link, more compute and a faster disk never make a step slower', async () => {
  writeLarge(1);
  const seconds = async (changes: Record<string, string>): Promise<number> => {
    const given = flags.map((word, i) => changes[flags[i - 1] ?? ''] ?? word);
    const { stdout } = await runCli(['plan', 'run.yaml', ...given, '--set', 'model.preset=llama-2-13b', '--json']);
    return JSON.parse(stdout).stepSeconds;
  };
  const before = await seconds({ '--gpu-memory': '12GiB', '--cpu': '64GiB' });
  for (const faster of [{ '--pcie': '50' }, { '--disk-read': '14', '--disk-write': '12' }, { '--tflops': '300' }]) {
    expect(await seconds({ '--gpu-memory': '12GiB', '--cpu': '64GiB', ...faster })).toBeLessThanOrEqual(before * 1.02);
  }
}, 120_000);
