import { expect, test } from 'vitest';
import { type ConfigInput, resolveConfig } from '../../../src/config/index.ts';

test('a resolved configuration resolves to itself', () => {
  const inputs: ConfigInput[] = [
    {},
    { train: { steps: 10 }, schedule: { warmupSteps: 2 } },
    { model: { architecture: 'llama', config: { hidden_size: 64 } }, data: { train: 'a.txt' } },
    { memory: { gpu: '64MiB', nvme: { path: '/mnt/disk', size: '1GB' } } },
    { optimizer: { groups: [{ match: 'wte', frozen: true }] } },
  ];
  for (const input of inputs) {
    const config = resolveConfig(input);
    expect(resolveConfig(config)).toEqual(config);
  }
});

test('defaults that depend on other values', () => {
  const config = resolveConfig({ name: 'tiny', seed: 7 });
  expect(config.train).toMatchObject({ steps: null, epochs: 1, output: 'runs/tiny' });
  expect(config.schedule).toMatchObject({ warmupSteps: null, warmupFraction: 0.05 });
  expect(resolveConfig({ schedule: { name: 'onecycle' } }).schedule.warmupFraction).toBe(0.3);
  expect(config.sample.seed).toBe(7);
  expect(resolveConfig({ train: { steps: 5 } }).train).toMatchObject({ steps: 5, epochs: null });
  expect(resolveConfig({ schedule: { warmupSteps: 0 } }).schedule).toMatchObject({
    warmupSteps: 0,
    warmupFraction: null,
  });
});

test('sizes become bytes and single paths become lists', () => {
  const config = resolveConfig({
    data: { train: 'a.txt' },
    memory: { gpu: '1.5GiB', cpu: 4096, chunkSize: '2MB', nvme: { path: '/mnt/disk', size: '1TiB' } },
  });
  expect(config.data.train).toEqual(['a.txt']);
  expect(config.memory).toMatchObject({ gpu: 1.5 * 2 ** 30, cpu: 4096, chunkSize: 2e6 });
  expect(config.memory.nvme).toMatchObject({ paths: ['/mnt/disk'], size: 2 ** 40 });
});

test('the caller keeps its object, and later changes to it do not reach the configuration', () => {
  const files = ['a.txt'];
  const input: ConfigInput = { data: { train: files } };
  const config = resolveConfig(input, ['train.steps=3']);
  files.push('b.txt');
  expect(config.data.train).toEqual(['a.txt']);
  expect(config.train.steps).toBe(3);
  expect(input).toEqual({ data: { train: ['a.txt', 'b.txt'] } });
});
