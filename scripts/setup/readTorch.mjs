/** Reads what a libtorch folder says about itself, without loading anything from it. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { compareVersions } from './run.mjs';

/** Minor versions that are accepted without a remark; 2.11 (CUDA) and 2.13 (CPU) are the tested ones. */
export const supported = { oldest: '2.11', newest: '2.14' };

/**
 * @typedef {object} Torch
 * @property {string} root     has `include/` and `lib/`
 * @property {string} version  e.g. `2.13.0+cpu`
 * @property {string | null} cuda  the CUDA version it was compiled for, null for a CPU build
 * @property {string} from     where it was found, for people
 */

/**
 * @param {string} root a wheel's `torch` folder or an unpacked libtorch archive
 * @param {string} from
 * @returns {{ torch: Torch } | { problem: string }}
 */
export function readTorch(root, from) {
  for (const needed of ['include/ATen/ATen.h', 'lib/libtorch.so', 'lib/libc10.so']) {
    if (!existsSync(path.join(root, needed))) {
      const inside = existsSync(path.join(root, 'torch', 'lib', 'libtorch.so')) ? ` (did you mean ${root}/torch?)` : '';
      return { problem: `${root} has no ${needed}${inside}` };
    }
  }
  const said = versionIn(root);
  if (said === undefined)
    return { problem: `${root} has neither version.py nor build-version: its version is unknown` };
  return { torch: { root, ...said, from } };
}

/** @param {string} root @returns {{ version: string, cuda: string | null } | undefined} */
function versionIn(root) {
  const python = read(path.join(root, 'version.py'));
  const version = /^__version__\s*=\s*'([^']+)'/m.exec(python)?.[1];
  if (version !== undefined) return { version, cuda: /^cuda\b[^=\n]*=\s*'([^']+)'/m.exec(python)?.[1] ?? null };
  // The zip archives carry one line such as "2.11.0+cu130" and no Python.
  const archive = read(path.join(root, 'build-version')).trim();
  if (archive === '') return undefined;
  const tag = /\+cu(\d+)(\d)$/.exec(archive);
  return { version: archive, cuda: tag ? `${tag[1]}.${tag[2]}` : null };
}

/** @param {string} file */
function read(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

/**
 * Whether a version is one we build against: `old` is refused, `new` is tried with a warning.
 * @param {string} version @returns {'old' | 'ok' | 'new'}
 */
export function judgeVersion(version) {
  const minor = version.split('.').slice(0, 2).join('.');
  if (compareVersions(minor, supported.oldest) < 0) return 'old';
  return compareVersions(minor, supported.newest) > 0 ? 'new' : 'ok';
}

/** One line for people. @param {Torch} torch */
export function describeTorch({ version, cuda, root, from }) {
  return `libtorch ${version} (${cuda === null ? 'CPU build' : `CUDA ${cuda}`}) in ${root}, found by ${from}`;
}
