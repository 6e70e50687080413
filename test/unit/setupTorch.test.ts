import path from 'node:path';
import { expect, test } from 'vitest';
import { findTorch } from '../../scripts/setup/findTorch.mjs';
import { judgeVersion, readTorch } from '../../scripts/setup/readTorch.mjs';
import { packageCopy, put, python, runSetup, temporaryFolder, torchWheel } from './setupTrees.ts';

test('the search order is venv, conda, python3, .torch/, and the first usable one wins', () => {
  const tmp = temporaryFolder();
  const wheel = (name: string) => torchWheel(path.join(tmp, name, 'torch'), '2.13.0+cpu');
  python(path.join(tmp, 'venv/bin'), wheel('a'), 'python');
  python(path.join(tmp, 'conda/bin'), wheel('b'), 'python');
  python(path.join(tmp, 'bin'), wheel('c'));
  const own = path.join(tmp, '.torch');
  torchWheel(path.join(own, 'venv/lib/python3.12/site-packages/torch'), '2.13.0+cpu');

  const env: Record<string, string> = {
    VIRTUAL_ENV: path.join(tmp, 'venv'),
    CONDA_PREFIX: path.join(tmp, 'conda'),
    PATH: path.join(tmp, 'bin'),
  };
  const order: string[] = [];
  for (const remove of ['VIRTUAL_ENV', 'CONDA_PREFIX', 'PATH', undefined]) {
    order.push(findTorch(env, own).torch?.from ?? 'none');
    if (remove !== undefined) delete env[remove];
  }
  expect(order).toEqual([
    'the active venv (VIRTUAL_ENV)',
    'the active conda environment (CONDA_PREFIX)',
    'python3 on PATH',
    '.torch/',
  ]);
});

test('TIERRA_LIBTORCH comes before everything else', () => {
  const tmp = temporaryFolder();
  python(path.join(tmp, 'bin'), torchWheel(path.join(tmp, 'a/torch'), '2.13.0+cpu'));
  const chosen = torchWheel(path.join(tmp, 'b/torch'), '2.11.0+cu130', '13.0');
  const { torch } = findTorch({ PATH: path.join(tmp, 'bin'), TIERRA_LIBTORCH: chosen }, path.join(tmp, '.torch'));
  expect(torch).toEqual({ root: chosen, version: '2.11.0+cu130', cuda: '13.0', from: 'TIERRA_LIBTORCH' });
});

test('a wrong TIERRA_LIBTORCH stops, although python3 has a torch that would do', () => {
  const root = packageCopy();
  const tmp = path.dirname(root);
  python(path.join(tmp, 'bin'), torchWheel(path.join(tmp, 'site/torch'), '2.13.0+cpu'));
  const run = runSetup(root, ['--auto'], { PATH: path.join(tmp, 'bin'), TIERRA_LIBTORCH: path.join(tmp, 'site') });
  expect(run.status).toBe(1);
  expect(run.output).toMatchInlineSnapshot(`
    "tierra: TIERRA_LIBTORCH=<tmp>/site is not a libtorch: <tmp>/site has no include/ATen/ATen.h (did you mean <tmp>/site/torch?)
      -> Point TIERRA_LIBTORCH at a folder with include/ and lib/ (a libtorch archive, or site-packages/torch), or unset it.
    "
  `);
});

test('a TIERRA_LIBTORCH that is too old is refused with its version', () => {
  const root = packageCopy();
  const old = torchWheel(path.join(path.dirname(root), 'old/torch'), '1.13.1');
  const run = runSetup(root, ['--auto'], { TIERRA_LIBTORCH: old });
  expect(run.status).toBe(1);
  expect(run.output).toMatchInlineSnapshot(`
    "tierra: TIERRA_LIBTORCH=<tmp>/old/torch is libtorch 1.13.1, which is too old: 2.11 to 2.14 are supported
      -> Update it (pip install "torch>=2.11"), or unset it.
    "
  `);
});

test('a torch of python3 that is too old is passed over and named', () => {
  const root = packageCopy();
  const tmp = path.dirname(root);
  python(path.join(tmp, 'bin'), torchWheel(path.join(tmp, 'site/torch'), '1.13.1'));
  const run = runSetup(root, [], { PATH: path.join(tmp, 'bin'), TIERRA_TORCH: 'skip' });
  expect(run.status).toBe(1);
  expect(run.output).toMatchInlineSnapshot(`
    "tierra: no libtorch was found, and TIERRA_TORCH=skip forbids installing one
      - TIERRA_LIBTORCH: not set
      - the active venv (VIRTUAL_ENV): not active
      - the active conda environment (CONDA_PREFIX): not active
      - python3 on PATH: torch 1.13.1 in <tmp>/site/torch is too old (2.11 to 2.14 are supported)
      - .torch/: nothing installed in <tierra>/.torch
      -> Point TIERRA_LIBTORCH at one, activate a Python environment that has torch, or unset TIERRA_TORCH.
    "
  `);
});

test('the zip archive of libtorch is read from build-version', () => {
  const tmp = temporaryFolder();
  for (const file of ['include/ATen/ATen.h', 'lib/libtorch.so', 'lib/libc10.so']) put(path.join(tmp, file));
  expect(readTorch(tmp, 'x')).toEqual({
    problem: `${tmp} has neither version.py nor build-version: its version is unknown`,
  });
  put(path.join(tmp, 'build-version'), '2.12.1+cu130\n');
  expect(readTorch(tmp, 'x')).toEqual({ torch: { root: tmp, version: '2.12.1+cu130', cuda: '13.0', from: 'x' } });
});

test('versions are compared by number, not by spelling', () => {
  expect(['1.13.1', '2.9.0', '2.10.1+cu128', '2.11.0', '2.14.3+cpu', '2.15.0a0', '3.0.0'].map(judgeVersion)).toEqual([
    'old',
    'old',
    'old',
    'ok',
    'ok',
    'new',
    'new',
  ]);
});
