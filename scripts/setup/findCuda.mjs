/**
 * The two pieces of CUDA that compiling needs beside a CUDA build of libtorch: the headers around `cuda_runtime_api.h`, and
 * `libcudart`. The library is the one that torch itself loads. The wheels that torch depends on hold most headers but not
 * `crt/`, so the headers come from a toolkit of the same major version, or from two small wheels of our own.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** @typedef {import('./env.mjs').Env} Env */
/** @typedef {import('./readTorch.mjs').Torch} Torch */
/** @typedef {{ include: string, lib: string, from: string }} CudaPieces `include` is a folder, `lib` is the library file */
/** @typedef {{ from: string, include: string, libs: readonly string[] }} Place */

/**
 * @param {Torch} torch a CUDA build @param {Env} env @param {string} ownTorch
 * @returns {{ cuda: CudaPieces | undefined, looked: string[] }}
 */
export function findCuda(torch, env, ownTorch) {
  const wanted = torch.cuda ?? '';
  const major = wanted.split('.')[0] ?? '';
  const places = allPlaces(torch, env, ownTorch, wanted, major);
  /** @type {string[]} */
  const looked = [];
  for (const place of places) {
    const problem = headerProblem(place, wanted);
    if (problem !== undefined) {
      looked.push(`${place.from}: ${problem}`);
      continue;
    }
    const folders = [...places.slice(0, 2).flatMap(({ libs }) => libs), path.join(torch.root, 'lib'), ...place.libs];
    const lib = folders.map((folder) => cudart(folder, major)).find((file) => file !== undefined);
    if (lib !== undefined) return { cuda: { include: place.include, lib, from: place.from }, looked };
    looked.push(`${place.from}: has the headers, but no libcudart.so.${major} is there or beside torch`);
  }
  return { cuda: undefined, looked };
}

/** Where `provideCuda` puts what it fetches. @param {string} ownTorch @param {string} major */
export const headersFolder = (ownTorch, major) => path.join(ownTorch, `cuda${major}`);

/**
 * The wheels beside torch come first: their library is the one that torch loads.
 * @param {Torch} torch @param {Env} env @param {string} ownTorch @param {string} wanted @param {string} major
 * @returns {Place[]}
 */
function allPlaces(torch, env, ownTorch, wanted, major) {
  const wheels = (/** @type {string} */ site) =>
    [`cu${major}`, 'cuda_runtime'].map((name) => place('the wheel', path.join(site, 'nvidia', name)));
  const own = headersFolder(ownTorch, major);
  const toolkits = [
    env.CUDA_HOME,
    env.CUDA_PATH,
    `/usr/local/cuda-${wanted}`,
    `/usr/local/cuda-${major}`,
    '/usr/local/cuda',
  ];
  const roots = [...new Set(toolkits)].filter((root) => root !== undefined && root !== '');
  return [
    ...wheels(path.dirname(torch.root)),
    ...wheels(own),
    ...roots.map((root) => place('the toolkit', /** @type {string} */ (root))),
    { from: 'the system', include: '/usr/include', libs: ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu'] },
  ];
}

/** @param {string} kind @param {string} root @returns {Place} */
function place(kind, root) {
  const libs = ['lib64', 'lib', 'targets/x86_64-linux/lib', 'targets/sbsa-linux/lib'].map((name) =>
    path.join(root, name),
  );
  return { from: `${kind} in ${root}`, include: path.join(root, 'include'), libs };
}

/** @param {Place} place @param {string} wanted @returns {string | undefined} */
function headerProblem({ include }, wanted) {
  const missing = ['cuda_runtime_api.h', 'crt/host_defines.h'].find((name) => !existsSync(path.join(include, name)));
  if (missing !== undefined) return `no ${path.join(include, missing)}`;
  const version = headerVersion(path.join(include, 'cuda_runtime_api.h'));
  if (version === undefined || version.split('.')[0] === wanted.split('.')[0]) return undefined;
  return `CUDA ${version}, torch was built for ${wanted}`;
}

/** @param {string} folder @param {string} major @returns {string | undefined} */
function cudart(folder, major) {
  if (!existsSync(folder)) return undefined;
  const names = readdirSync(folder);
  const exact = `libcudart.so.${major}`;
  const name = [exact, ...names.filter((file) => file.startsWith(`${exact}.`))].find((file) => names.includes(file));
  return name === undefined ? undefined : path.join(folder, name);
}

/** `CUDART_VERSION` is 1000 * major + 10 * minor. @param {string} header @returns {string | undefined} */
function headerVersion(header) {
  const number = Number(/#define\s+CUDART_VERSION\s+(\d+)/.exec(readFileSync(header, 'utf8'))?.[1]);
  return Number.isNaN(number) ? undefined : `${Math.floor(number / 1000)}.${Math.floor((number % 1000) / 10)}`;
}
