/** Folder trees and programs that stand for other people's machines. */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';

export const packageRoot = path.resolve(import.meta.dirname, '..', '..');

export function temporaryFolder(): string {
  const folder = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'tierra-setup-')));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function put(file: string, content = ''): string {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, content);
  return file;
}

/** An executable shell script. */
export function program(folder: string, name: string, body: string): string {
  const file = put(path.join(folder, name), `#!/bin/sh\n${body}\n`);
  chmodSync(file, 0o755);
  return file;
}

/** What a torch wheel unpacks to, as far as setup reads it. */
export function torchWheel(root: string, version: string, cuda: string | null = null): string {
  for (const file of ['include/ATen/ATen.h', 'lib/libtorch.so', 'lib/libc10.so']) put(path.join(root, file));
  const cudaLine = cuda === null ? 'None' : `'${cuda}'`;
  put(path.join(root, 'version.py'), `__version__ = '${version}'\ndebug = False\ncuda: Optional[str] = ${cudaLine}\n`);
  return root;
}

/** A `python3` that answers as if its torch lay in `root` (empty: none). */
export function python(folder: string, root: string, name = 'python3'): string {
  return program(folder, name, `echo "${root}"`);
}

/** A copy of the package as setup sees it, with sources that are never compiled. */
export function packageCopy(): string {
  const root = path.join(temporaryFolder(), 'tierra');
  cpSync(path.join(packageRoot, 'scripts'), path.join(root, 'scripts'), { recursive: true });
  put(path.join(root, 'native', 'CMakeLists.txt'), 'project(tierra)\n');
  put(path.join(root, 'package.json'), '{"type":"module"}');
  put(path.join(root, 'src/native/binding.ts'), 'export const contract = 1;\n');
  return root;
}

/** Runs setup as npm would, in an environment that has only what `env` says; folder names are shortened. */
export function runSetup(root: string, args: readonly string[], env: Record<string, string>) {
  const script = path.join(root, 'scripts', 'setup.mjs');
  const options = { env: { PATH: '/nowhere', ...env }, encoding: 'utf8', cwd: root } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], options);
  const shorten = (text: string) => text.replaceAll(root, '<tierra>').replaceAll(path.dirname(root), '<tmp>');
  return { status, output: shorten(stdout + stderr) };
}
