/**
 * The two pieces of CUDA that compiling needs beside a CUDA build of libtorch: `cuda_runtime_api.h` and `libcudart`. They
 * come from the wheels that torch's own wheel depends on, or from a toolkit of the same major version.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** @typedef {import('./env.mjs').Env} Env */
/** @typedef {import('./readTorch.mjs').Torch} Torch */
/** @typedef {{ include: string, lib: string, from: string }} CudaPieces `include` is a folder, `lib` is the library file */

/**
 * @param {Torch} torch a CUDA build @param {Env} env
 * @returns {{ cuda: CudaPieces | undefined, looked: string[] }}
 */
export function findCuda(torch, env) {
  const wanted = torch.cuda ?? '';
  const major = wanted.split('.')[0] ?? '';
  const site = path.join(path.dirname(torch.root), 'nvidia');
  const wheels = [path.join(site, `cu${major}`), path.join(site, 'cuda_runtime')];
  const toolkits = [
    env.CUDA_HOME,
    env.CUDA_PATH,
    `/usr/local/cuda-${wanted}`,
    `/usr/local/cuda-${major}`,
    '/usr/local/cuda',
  ];
  const system = { include: '/usr/include', libs: ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu'] };
  const candidates = [
    ...wheels.map((root) => ({
      from: `the wheel in ${root}`,
      include: path.join(root, 'include'),
      libs: [path.join(root, 'lib')],
    })),
    ...[...new Set(toolkits)].flatMap((root) => (root ? [toolkit(root)] : [])),
    { from: 'the system', ...system },
  ];
  /** @type {string[]} */
  const looked = [];
  for (const { from, include, libs } of candidates) {
    const header = path.join(include, 'cuda_runtime_api.h');
    if (!existsSync(header)) {
      looked.push(`${from}: no ${header}`);
      continue;
    }
    const version = headerVersion(header);
    if (version !== undefined && version.split('.')[0] !== major) {
      looked.push(`${from}: CUDA ${version}, torch was built for ${wanted}`);
      continue;
    }
    const lib = [...libs, path.join(torch.root, 'lib')]
      .map((dir) => cudart(dir, major))
      .find((file) => file !== undefined);
    if (lib !== undefined) return { cuda: { include, lib, from }, looked };
    looked.push(`${from}: has the headers, but no libcudart.so.${major} in ${libs.join(' or ')}`);
  }
  return { cuda: undefined, looked };
}

/** @param {string} root */
function toolkit(root) {
  const libs = ['lib64', 'lib', 'targets/x86_64-linux/lib', 'targets/sbsa-linux/lib'].map((dir) =>
    path.join(root, dir),
  );
  return { from: `the toolkit in ${root}`, include: path.join(root, 'include'), libs };
}

/** @param {string} dir @param {string} major @returns {string | undefined} */
function cudart(dir, major) {
  if (!existsSync(dir)) return undefined;
  const names = readdirSync(dir);
  const name =
    names.find((file) => file === `libcudart.so.${major}`) ??
    names.find((file) => file.startsWith(`libcudart.so.${major}.`)) ??
    names.find((file) => file === 'libcudart.so');
  return name === undefined ? undefined : path.join(dir, name);
}

/** `CUDART_VERSION` is 1000 * major + 10 * minor. @param {string} header @returns {string | undefined} */
function headerVersion(header) {
  const number = Number(/#define\s+CUDART_VERSION\s+(\d+)/.exec(readFileSync(header, 'utf8'))?.[1]);
  return Number.isNaN(number) ? undefined : `${Math.floor(number / 1000)}.${Math.floor((number % 1000) / 10)}`;
}
