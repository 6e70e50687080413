/** What a rank takes of its node. */
import { availableParallelism } from 'node:os';
import { expect, it } from 'vitest';
import { chooseBackend, deviceIndexFor, threadsPerRank } from '../../src/dist/index.ts';
import type { World } from '../../src/dist/world.ts';
import { launch } from '../../src/engine/launch.ts';

const world: World = {
  launcher: 'torchrun',
  rank: 3,
  size: 4,
  localRank: 1,
  localSize: 2,
  rendezvous: { host: '127.0.0.1', port: 29500, external: false },
};

it('a rank has a world, a backend and its share of the cores', () => {
  const context = launch({ device: 'cpu', train: { steps: 1 } }, [], world);
  expect(context).toMatchObject({ world, backend: 'gloo', device: 'cpu' });
  expect(context.threads).toBe(Math.max(1, Math.floor(availableParallelism() / 2)));
  expect(context.optimizerThreads).toBe(context.threads);
  expect(launch({ device: 'cpu', train: { steps: 1 } }).threads).toBe(availableParallelism());
});

it('more ranks than cores get one thread each', () => {
  expect(threadsPerRank({ ...world, localSize: 10_000 })).toBe(1);
});

it('NCCL without a GPU is refused, never replaced', () => {
  const config = { device: 'cpu', train: { steps: 1 }, parallel: { backend: 'nccl' } } as const;
  expect(() => launch(config, [], world)).toThrow('parallel.backend: nccl');
  expect(chooseBackend('auto', 'cuda:1')).toBe('nccl');
  expect(chooseBackend('gloo', 'cuda:1')).toBe('gloo');
});

it('each rank of a node takes a GPU of its own, or the one that its launcher shows it', () => {
  expect(deviceIndexFor(world, 8, {})).toBe(1);
  expect(deviceIndexFor(world, 1, { CUDA_VISIBLE_DEVICES: '5' })).toBe(0);
  expect(deviceIndexFor(world, 2, { CUDA_VISIBLE_DEVICES: '5,6' })).toBe(1);
});
