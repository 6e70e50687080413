import { existsSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { chooseBuild } from '../../scripts/setup/installTorch.mjs';
import type { SetupStop } from '../../scripts/setup/stop.mjs';
import { packageCopy, runSetup } from './setupTrees.ts';

test('TIERRA_NATIVE=skip leaves at once and touches nothing', () => {
  const root = packageCopy();
  const run = runSetup(root, ['--auto'], { TIERRA_NATIVE: 'skip', TIERRA_LIBTORCH: '/wrong' });
  expect(run).toEqual({
    status: 0,
    output: 'tierra: TIERRA_NATIVE=skip: the addon is not built; `npx tierra setup` builds it\n',
  });
  expect(existsSync(path.join(root, 'build'))).toBe(false);
});

test('TIERRA_TORCH=skip without a libtorch: all that was looked at, and no failure during npm install', () => {
  const root = packageCopy();
  const auto = runSetup(root, ['--auto'], { TIERRA_TORCH: 'skip' });
  expect(auto.status).toBe(0);
  expect(auto.output).toMatchInlineSnapshot(`
    "tierra: no libtorch was found, and TIERRA_TORCH=skip forbids installing one
      - TIERRA_LIBTORCH: not set
      - the active venv (VIRTUAL_ENV): not active
      - the active conda environment (CONDA_PREFIX): not active
      - python3 on PATH: no such program
      - .torch/: nothing installed in <tierra>/.torch
      -> Point TIERRA_LIBTORCH at one, activate a Python environment that has torch, or unset TIERRA_TORCH.
    tierra: planning and the command line work without the addon; training needs it: \`npx tierra setup\`
    "
  `);
  expect(existsSync(path.join(root, '.torch'))).toBe(false);
  expect(runSetup(root, [], { TIERRA_TORCH: 'skip' }).status).toBe(1);
  expect(runSetup(root, ['--auto'], { TIERRA_TORCH: 'skip', TIERRA_NATIVE: 'require' }).status).toBe(1);
});

test('no libtorch and no python3 to install one with', () => {
  const root = packageCopy();
  const run = runSetup(root, ['--auto'], { TIERRA_TORCH: 'cpu', TIERRA_NATIVE: 'require' });
  expect(run.status).toBe(1);
  expect(run.output).toContain('the addon cannot be compiled here');
});

test('misspelt wishes are refused', () => {
  const root = packageCopy();
  expect(runSetup(root, ['--auto'], { TIERRA_TORCH: 'gpu' }).output).toMatchInlineSnapshot(`
    "tierra: TIERRA_TORCH=gpu is not understood
      -> Use one of auto, skip, cpu, cuda, or unset it.
    "
  `);
  expect(runSetup(root, ['--auto'], { TIERRA_NATIVE: 'required' }).status).toBe(1);
  expect(runSetup(root, ['--auto'], { TIERRA_JOBS: 'many' }).status).toBe(1);
  expect(runSetup(root, ['--quick'], {}).status).toBe(2);
});

test('the large CUDA build is installed only when asked for', () => {
  const choose = (wish: 'auto' | 'cpu' | 'cuda', gpu: boolean, confirmed = false) => {
    try {
      return chooseBuild({ wish, gpu, confirmed, looked: [] });
    } catch (error) {
      return (error as SetupStop).kind;
    }
  };
  expect(choose('auto', false)).toBe('cpu');
  expect(choose('auto', false, true)).toBe('cpu');
  expect(choose('auto', true)).toBe('absent');
  expect(choose('auto', true, true)).toBe('cuda');
  expect(choose('cpu', true)).toBe('cpu');
  expect(choose('cuda', false)).toBe('cuda');
});
