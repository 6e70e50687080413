import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { findNccl } from '../../scripts/setup/findNccl.mjs';
import { lookForTools } from '../../scripts/setup/findTools.mjs';
import { checkPlatform } from '../../scripts/setup/platform.mjs';
import type { Torch } from '../../scripts/setup/readTorch.mjs';
import type { SetupStop } from '../../scripts/setup/stop.mjs';
import { packageCopy, program, runSetup, temporaryFolder, torchWheel } from './setupTrees.ts';

const gcc = (version: string) => `echo "g++ (Debian ${version}-14) ${version}"`;

test('no compiler on PATH: one message with everything missing and the command that installs it', () => {
  const root = packageCopy();
  const bin = path.join(path.dirname(root), 'bin');
  program(bin, 'cmake', 'echo "cmake version 3.25.1"');
  const torch = torchWheel(path.join(path.dirname(root), 'torch'), '2.13.0+cpu');
  const env = { PATH: bin, TIERRA_LIBTORCH: torch };
  const byHand = runSetup(root, [], env);
  expect(byHand.status).toBe(1);
  expect(byHand.output.replace(/-> .*(g\+\+ ninja-build).*/, '-> <install> $1')).toMatchInlineSnapshot(`
    "tierra: the addon cannot be compiled here
      - C++20 compiler: c++, g++, clang++ not on PATH; gcc 11 or clang 14 or later is needed
      - ninja or make: neither ninja nor make on PATH
      -> <install> g++ ninja-build
    "
  `);
  const auto = runSetup(root, ['--auto'], env);
  expect(auto.status).toBe(0);
  expect(auto.output).toContain('planning and the command line work without the addon');
  expect(runSetup(root, ['--auto'], { ...env, TIERRA_NATIVE: 'require' }).status).toBe(1);
});

test('tools that are too old are named with what is needed', () => {
  const bin = temporaryFolder();
  program(bin, 'cmake', 'echo "cmake version 3.16.3"');
  program(bin, 'g++', gcc('9.4.0'));
  program(bin, 'make', 'echo "GNU Make 4.3"');
  const { cmake, compiler, builder } = lookForTools({ PATH: bin });
  expect(cmake.problem).toBe(`${bin}/cmake is 3.16.3, 3.22 or later is needed`);
  expect(compiler.problem).toBe(`${bin}/g++ is gcc 9.4.0; gcc 11 or clang 14 or later is needed`);
  expect(builder.tool).toEqual({ path: `${bin}/make`, version: '4.3' });
});

test('an old gcc gives way to a newer clang, and CXX decides alone', () => {
  const bin = temporaryFolder();
  program(bin, 'g++', gcc('9.4.0'));
  program(bin, 'clang++', 'echo "Debian clang version 16.0.6 (15)"');
  expect(lookForTools({ PATH: bin }).compiler.tool).toEqual({ path: `${bin}/clang++`, version: 'clang 16.0.6' });
  const chosen = lookForTools({ PATH: bin, CXX: `${bin}/g++` }).compiler;
  expect(chosen.tool).toBeUndefined();
  expect(chosen.problem).toBe(`CXX=${bin}/g++: ${bin}/g++ is gcc 9.4.0; gcc 11 or clang 14 or later is needed`);
});

test('other platforms are refused, WSL2 and arm64 accepted with a remark', () => {
  const machine = (platform: string, arch: string, kernel = '6.1.0-13-amd64') => ({ platform, arch, kernel });
  const refusal = (platform: string, arch: string) => {
    try {
      return checkPlatform(machine(platform, arch));
    } catch (error) {
      return (error as SetupStop).text();
    }
  };
  expect(checkPlatform(machine('linux', 'x64'))).toBe('');
  expect(checkPlatform(machine('linux', 'x64', '5.15.90.1-microsoft-standard-WSL2'))).toBe(
    'WSL2: expected to work, not tested',
  );
  expect(checkPlatform(machine('linux', 'arm64'))).toBe('Linux on arm64: expected to work, not tested');
  expect([refusal('darwin', 'arm64'), refusal('win32', 'x64'), refusal('linux', 'riscv64')]).toMatchInlineSnapshot(`
    [
      "the native addon is built on Linux x86-64; this is darwin arm64
      -> Use a Linux machine or a Linux container.",
      "the native addon is built on Linux x86-64; this is win32 x64
      -> On Windows, use WSL2.",
      "the native addon is built on Linux x86-64; this is linux riscv64
      -> Use a Linux machine or a Linux container.",
    ]
  `);
});

test("NCCL's header: the one that is named, then beside torch, then the system's", () => {
  const root = temporaryFolder();
  const folder = (...names: string[]) => {
    const made = path.join(root, ...names);
    mkdirSync(made, { recursive: true });
    writeFileSync(path.join(made, 'nccl.h'), '');
    return made;
  };
  const torch = { root: path.join(root, 'site', 'torch'), version: '2.13.0', cuda: '13.0' } as Torch;
  const system = path.join(root, 'usr');
  expect(findNccl(torch, {}, [system])).toBe(undefined);
  folder('usr');
  expect(findNccl(torch, {}, [system])).toBe(system);
  const wheel = folder('site', 'nvidia', 'nccl', 'include');
  expect(findNccl(torch, {}, [system])).toBe(wheel);
  const named = folder('own', 'include');
  expect(findNccl(torch, { TIERRA_NCCL: path.dirname(named) }, [system])).toBe(named);
});
