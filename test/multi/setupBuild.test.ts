/**
 * Setup from sources to a working addon, with the real CMake, compiler and processes. The addon is a tiny one that answers as
 * the real one does, so that a build takes seconds.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { lookForTools } from '../../scripts/setup/findTools.mjs';
import { packageCopy, packageRoot, put, torchWheel } from '../unit/setupTrees.ts';

const missing = Object.values(lookForTools(process.env)).filter(({ tool }) => tool === undefined);

const cmake = `cmake_minimum_required(VERSION 3.22)
project(tierra C)
add_library(tierra MODULE tierra.c)
set_target_properties(tierra PROPERTIES PREFIX "" SUFFIX ".node")
target_include_directories(tierra PRIVATE \${CMAKE_JS_INC})
`;

/** An addon that evaluates its exports; `before` runs first. */
const source = (before: string, sum = 'a + b') => `#include <node_api.h>
#include <stdlib.h>
NAPI_MODULE_INIT() {
  ${before}
  const char *text = "({ contract: 1, buildInfo: { torchVersion: '2.13.0', compiler: 'c', cuda: false, uring: false },"
    "setErrorFactory() {}, findOperator: () => 0, fromBytes: (bytes) => new Float32Array(bytes.buffer)[0],"
    "call: (operator, a, b) => ${sum}, item: (value) => value, release() {}, deviceCount: () => 0 })";
  napi_value script, result;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &script);
  napi_run_script(env, script, &result);
  return result;
}
`;

function project() {
  const root = packageCopy();
  symlinkSync(path.join(packageRoot, 'node_modules'), path.join(root, 'node_modules'));
  put(path.join(root, 'native/CMakeLists.txt'), cmake);
  put(path.join(root, 'native/package.json'), readFileSync(path.join(packageRoot, 'native/package.json'), 'utf8'));
  const torch = torchWheel(path.join(path.dirname(root), 'torch'), '2.13.0+cpu');
  const write = (text: string) => put(path.join(root, 'native/tierra.c'), text);
  return { root, write, setup: () => setup(root, torch), addon: path.join(root, 'build/tierra.node') };
}

/** Every proxy is a dead end: a build that downloads anything fails. */
function setup(root: string, torch: string): Promise<{ status: number | null; output: string }> {
  const dead = { http_proxy: 'http://127.0.0.1:9', https_proxy: 'http://127.0.0.1:9' };
  const env = { PATH: process.env.PATH, HOME: path.dirname(root), TIERRA_LIBTORCH: torch, TIERRA_JOBS: '2', ...dead };
  const child = spawn(process.execPath, [path.join(root, 'scripts/setup.mjs')], { env, cwd: root });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, output })));
}

describe.skipIf(missing.length > 0)(
  `setup builds (needs ${missing.map(({ name }) => name).join(', ') || 'nothing more'})`,
  () => {
    test('an addon is built, tried and recorded; a failure afterwards leaves it in place', async () => {
      const { root, write, setup, addon } = project();
      write(source(''));
      const first = await setup();
      expect(first.output).toContain('addon ready');
      expect(first.status).toBe(0);
      expect(await setup()).toEqual({ status: 0, output: 'tierra: the addon is up to date\n' });
      const works = readFileSync(addon);

      write(source('int x = not_declared;'));
      const typo = await setup();
      expect(typo.status).toBe(1);
      expect(typo.output).toContain('the addon does not compile (the whole output is in build/setup.log)');
      expect(typo.output).toMatch(/tierra\.c:4:\d+: error: .*not_declared/);

      write(source('abort();'));
      const crash = await setup();
      expect(crash.status).toBe(1);
      expect(crash.output).toContain(
        'the addon was built, but does not work: the addon took its process down (SIGABRT)',
      );

      write(source('', 'a - b'));
      expect((await setup()).output).toContain('libtorch says that 1 + 2 is -1');

      write(source('').replace('contract: 1', 'contract: 2'));
      expect((await setup()).output).toContain('the addon speaks contract 2, this version of Tierra needs 1');

      expect(readFileSync(addon).equals(works)).toBe(true);
      write(source(''));
      expect(await setup()).toEqual({ status: 0, output: 'tierra: the addon is up to date\n' });
      expect(readdirSync(path.join(root, 'build')).sort()).toEqual([
        'build-info.json',
        'native',
        'setup.log',
        'tierra.node',
      ]);
    });

    test('of two at once, one builds and the other waits and finds it done', async () => {
      const { write, setup, addon } = project();
      write(source(''));
      const runs = await Promise.all([setup(), setup()]);
      expect(runs.map(({ status }) => status)).toEqual([0, 0]);
      const texts = runs.map(({ output }) => output).sort((a, b) => a.length - b.length);
      expect(texts[0]).toMatch(
        /^(tierra: waiting for another setup \(process \d+\) to end\n)?tierra: the addon is up to date\n$/,
      );
      expect(texts[1]).toContain('addon ready');
      expect(existsSync(addon)).toBe(true);
    });

    test('a build folder made elsewhere is thrown away, not tripped over', async () => {
      const { root, write, setup } = project();
      write(source(''));
      expect((await setup()).status).toBe(0);
      const cache = path.join(root, 'build/native/CMakeCache.txt');
      put(cache, readFileSync(cache, 'utf8').replaceAll(root, '/elsewhere/tierra'));
      write(`${source('')}\n`);
      const again = await setup();
      expect(again.output).toContain('addon ready');
      expect(again.status).toBe(0);
    });
  },
);
