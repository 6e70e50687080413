import { expect, test } from 'vitest';
import { runCli } from '../cli/runCli.ts';
import { useWorkingFolder, write } from '../config/files.ts';

useWorkingFolder();

const machine = ['--gpu-memory', '1344MiB', '--cpu', '128MiB', '--nvme', '256MiB'];
const model = (layers: number): string =>
  `model: { preset: gpt2-bytes-25m, overrides: { n_layer: ${layers} } }
data: { sequenceLength: 128 }
train: { steps: 10, batchSize: 1 }
memory: { activations: recompute }
`;

test('the deepest model that fits is found, fits, and is the deepest', async () => {
  write('run.yaml', model(2));
  const found = await runCli(['plan', 'run.yaml', '--largest', ...machine]);
  expect(found.stderr).toBe('');
  const layers = Number(/n_layer: (\d+)/.exec(found.stdout)?.[1]);
  const refused = Number(/\n(\d+) layers, .* would be refused: \w+ is short by/.exec(found.stdout)?.[1]);
  expect(layers).toBeGreaterThan(2);
  expect(refused).toBeGreaterThan(layers);

  write('run.yaml', model(layers));
  const fits = await runCli(['plan', 'run.yaml', ...machine]);
  expect(fits.code).toBe(0);
  expect(found.stdout.endsWith(fits.stdout)).toBe(true);

  write('run.yaml', model(layers + 1));
  const tooDeep = await runCli(['plan', 'run.yaml', ...machine]);
  expect(tooDeep.code).toBe(1);
  expect(tooDeep.stderr).toContain('is short by');
}, 180_000);

test('as JSON, with what would be refused', async () => {
  write('run.yaml', model(2));
  const { stdout } = await runCli(['plan', 'run.yaml', '--largest', '--json', ...machine]);
  const { largest, model: summary, bound, stepSeconds } = JSON.parse(stdout);
  expect(summary.layers).toBe(largest.layers);
  expect(largest.refused.parameters).toBeGreaterThan(1.05 * summary.parameters);
  expect(bound.seconds).toBeGreaterThan(0);
  expect(bound.seconds).toBeLessThanOrEqual(stepSeconds);
}, 180_000);

test('a model of which not one layer fits is refused as without the flag', async () => {
  write('run.yaml', model(2));
  const { code, stderr } = await runCli(['plan', 'run.yaml', '--largest', '--gpu-memory', '1MiB', '--cpu', '1MiB']);
  expect(code).toBe(1);
  expect(stderr).toContain('gpu is short by');
}, 180_000);
