import path from 'node:path';
import { expect, test } from 'vitest';
import { checkDisk } from '../../scripts/doctor/disk.mjs';
import { formatFindings, off, ok } from '../../scripts/doctor/finding.mjs';
import { checkMemory, judgeLockedMemory } from '../../scripts/doctor/machine.mjs';
import { checkNode } from '../../scripts/doctor/programs.mjs';
import { buildRemedy, firstErrors } from '../../scripts/setup/advice.mjs';
import { findCuda } from '../../scripts/setup/findCuda.mjs';
import { probeAddon } from '../../scripts/setup/probe.mjs';
import { put, temporaryFolder, torchWheel } from './setupTrees.ts';

test('the first errors of a log are found between the noise, with a remedy for the kind', () => {
  const log = [
    '[3/9] Building CXX object x.cc.o -Wall -Werror',
    '/src/x.cc:12:3: error: static assertion failed',
    'c++: fatal error: Killed signal terminated program cc1plus',
    'ninja: build stopped: subcommand failed.',
  ].join('\n');
  expect(firstErrors(log)).toEqual([
    '/src/x.cc:12:3: error: static assertion failed',
    'c++: fatal error: Killed signal terminated program cc1plus',
  ]);
  expect(buildRemedy(log)).toContain('TIERRA_JOBS=1');
  expect(buildRemedy('x.o: No space left on device')).toContain('disk is full');
  expect(buildRemedy('undefined reference to `c10::Error::Error(std::__cxx11::basic_string')).toContain(
    'CXX=/usr/bin/g++',
  );
  expect(firstErrors('CMake Error at a.cmake:3 (message):\n  Could NOT find Libtorch\n')).toEqual([
    'CMake Error at a.cmake:3 (message): Could NOT find Libtorch',
  ]);
});

test('an addon that is no library, and one that crashes, become sentences', () => {
  const tmp = temporaryFolder();
  const addon = put(path.join(tmp, 'tierra.node'), 'not an ELF file');
  const broken = probeAddon(addon, '1', process.env);
  expect(broken.ok ? '' : broken.problem.replaceAll(tmp, '<tmp>')).toMatchInlineSnapshot(
    `"<tmp>/tierra.node: file too short"`,
  );
  // A module that ends its process as a crash in native code does.
  const crashing = put(path.join(tmp, 'crash.cjs'), 'process.kill(process.pid, "SIGSEGV"); while (true);');
  expect(probeAddon(crashing, '1', process.env)).toMatchInlineSnapshot(`
    {
      "ok": false,
      "problem": "the addon took its process down (SIGSEGV)",
      "remedy": "Remove build/ and run \`npx tierra setup\`; if it dies again, try torch 2.13.0 (CPU build).",
    }
  `);
  const other = put(path.join(tmp, 'other.cjs'), 'exports.contract = 7;');
  expect(probeAddon(other, '1', process.env)).toMatchInlineSnapshot(`
    {
      "ok": false,
      "problem": "the addon speaks contract 7, this version of Tierra needs 1",
      "remedy": "Remove build/ and run \`npx tierra setup\`.",
    }
  `);
});

test('CUDA: the library is the one beside torch, the headers are complete and of the same major version', () => {
  const tmp = temporaryFolder();
  const root = torchWheel(path.join(tmp, 'site/torch'), '2.11.0+cu130', '13.0');
  const torch = { root, version: '2.11.0+cu130', cuda: '13.0', from: 'test' };
  const find = () => findCuda(torch, { CUDA_HOME: toolkit }, path.join(tmp, '.torch'));
  const headers = (folder: string, version: number) => {
    put(path.join(folder, 'include/cuda_runtime_api.h'), `#define CUDART_VERSION  ${version}\n`);
    put(path.join(folder, 'include/crt/host_defines.h'));
  };
  const toolkit = path.join(tmp, 'cuda');
  headers(toolkit, 12080);
  put(path.join(toolkit, 'lib64/libcudart.so.12'));
  expect(find().looked).toContain(`the toolkit in ${toolkit}: CUDA 12.8, torch was built for 13.0`);
  headers(toolkit, 13010);
  expect(find().looked).toContain(
    `the toolkit in ${toolkit}: has the headers, but no libcudart.so.13 is there or beside torch`,
  );
  const ofToolkit = put(path.join(toolkit, 'lib64/libcudart.so.13'));
  expect(find().cuda?.lib).toBe(ofToolkit);

  // torch's own dependency: the library, and headers that do not compile without crt/.
  const wheel = path.join(tmp, 'site/nvidia/cu13');
  put(path.join(wheel, 'include/cuda_runtime_api.h'), '#define CUDART_VERSION  13000\n');
  const ofWheel = put(path.join(wheel, 'lib/libcudart.so.13'));
  expect(find().looked).toContain(`the wheel in ${wheel}: no ${wheel}/include/crt/host_defines.h`);
  expect(find().cuda).toEqual({ include: `${toolkit}/include`, lib: ofWheel, from: `the toolkit in ${toolkit}` });

  const fetched = path.join(tmp, '.torch/cuda13/nvidia/cu13');
  headers(fetched, 13000);
  put(path.join(fetched, 'lib/libcudart.so.13'));
  expect(find().cuda).toEqual({ include: `${fetched}/include`, lib: ofWheel, from: `the wheel in ${fetched}` });
});

test('limits are judged by what they forbid', () => {
  expect(checkNode('20.19.0').state).toBe('ok');
  expect(checkNode('18.20.4').state).toBe('broken');
  expect(checkMemory(64 * 2 ** 30, 2 * 2 ** 30)).toMatchObject({
    state: 'off',
    found: '64 GiB, limited to 2.0 GiB here',
  });
  expect(judgeLockedMemory('8388608', false).state).toBe('off');
  expect(judgeLockedMemory('8388608', true).state).toBe('ok');
  expect(judgeLockedMemory('unlimited', false).state).toBe('ok');
});

test('a folder that cannot be written is broken, and a measurement leaves nothing behind', async () => {
  expect(await checkDisk('/proc', { measure: false })).toMatchObject({ state: 'broken', name: 'disk' });
  const tmp = temporaryFolder();
  const { state, found } = await checkDisk(tmp, { measure: true, seconds: 0.1 });
  expect(`${state} ${found}`).toMatch(/^ok .*O_DIRECT writes [\d.]+ GB\/s and reads [\d.]+ GB\/s$|^off .*no O_DIRECT/);
});

test('findings are printed one a line with their remedy', () => {
  expect(formatFindings([ok('Node', '20.20.2'), off('liburing', 'no headers', 'install them')])).toMatchInlineSnapshot(`
    "ok      Node      20.20.2
    off     liburing  no headers
            -> install them
    1 ok, 1 off, 0 broken"
  `);
});
