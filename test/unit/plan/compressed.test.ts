/** `tierra plan` of a run with compressed states: half of the states' bytes, deeper models, and what a run would refuse. */
import { expect, test } from 'vitest';
import { runCli } from '../cli/runCli.ts';
import { useWorkingFolder, write } from '../config/files.ts';

useWorkingFolder();

const machine = ['--gpu-memory', '1344MiB', '--cpu', '256MiB'];
const model = (layers: number): string =>
  `model: { preset: gpt2-bytes-25m, overrides: { n_layer: ${layers} } }
data: { sequenceLength: 128 }
train: { steps: 10, batchSize: 1 }
memory: { activations: recompute }
`;
const compressed = ['--set', 'optimizer.states=compressed'];

test('states take half the bytes and stay below the GPU; a model that is too large is told of them', async () => {
  const bytesOf = async (...flags: string[]) => {
    const { stdout, code } = await runCli(['plan', 'run.yaml', '--json', ...flags]);
    expect(code).toBe(0);
    return JSON.parse(stdout).tiers;
  };
  write('run.yaml', model(2));
  const [exact, half] = [await bytesOf(...machine), await bytesOf(...machine, ...compressed)];
  const states = (tiers: typeof exact): number => tiers.gpu.stateBytes + tiers.host.stateBytes;
  expect(half.gpu.stateBytes).toBe(0);
  expect(states(half) / states(exact)).toBeGreaterThan(0.5);
  expect(states(half) / states(exact)).toBeLessThan(0.51);

  const largest = async (...flags: string[]): Promise<number> =>
    Number(/n_layer: (\d+)/.exec((await runCli(['plan', 'run.yaml', '--largest', ...machine, ...flags])).stdout)?.[1]);
  const [few, many] = [await largest(), await largest(...compressed)];
  expect(many).toBeGreaterThan(1.3 * few);
  write('run.yaml', model(many));
  const { code, stderr } = await runCli(['plan', 'run.yaml', ...machine]);
  expect(code).toBe(1);
  expect(stderr).toContain('set optimizer.states: compressed, which keeps moments in eight bits');
}, 180_000);

test('what a run refuses is refused in its words', async () => {
  write('run.yaml', model(2));
  const alone = await runCli(['plan', 'run.yaml', ...machine, ...compressed, '--set', 'precision=fp16']);
  expect(alone.stderr).toContain('optimizer.states: compressed works with bf16 and fp32');
  const cut = ['--ranks', '2', '--set', 'parallel.tp=2'];
  const ranks = await runCli(['plan', 'run.yaml', ...machine, ...compressed, ...cut]);
  expect(ranks.stderr).toContain('optimizer.states: compressed is not there yet under parallel.tp');
}, 180_000);
