/** What the addon was built from, kept beside it: equal inputs mean that there is nothing to do. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** @typedef {import('./readTorch.mjs').Torch} Torch */
/** @typedef {import('./paths.mjs').Places} Places */

/**
 * Everything that changes the addon's bytes.
 * @typedef {object} Inputs
 * @property {string} sourceHash
 * @property {string} contract
 * @property {string} torchRoot
 * @property {string} torchVersion
 * @property {string | null} torchCuda
 * @property {string | null} cudaInclude  null: built without CUDA
 * @property {string | null} cudaLib
 * @property {string | null} ncclInclude  null: no collectives between GPUs
 * @property {boolean} uring
 */

/** @typedef {Inputs & { compiler: string, cmake: string, node: string, addonBytes: number }} BuildRecord */

/** One hash over names and contents below a folder. @param {string} folder */
export function hashSources(folder) {
  const hash = createHash('sha256');
  for (const file of filesBelow(folder)) {
    hash.update(`${path.relative(folder, file)}\0`);
    hash.update(readFileSync(file));
    hash.update('\0');
  }
  return hash.digest('hex').slice(0, 16);
}

/** @param {string} folder @returns {string[]} */
function filesBelow(folder) {
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  return entries.flatMap((entry) => {
    const full = path.join(folder, entry.name);
    return entry.isDirectory() ? filesBelow(full) : [full];
  });
}

/** The contract number that the package's own TypeScript speaks, from the sources of a clone or the compiled package. @param {string} root */
export function contractOf(root) {
  for (const file of ['src/native/binding.ts', 'dist/native/binding.js']) {
    const full = path.join(root, file);
    if (!existsSync(full)) continue;
    const number = /^export const contract = (\d+)/m.exec(readFileSync(full, 'utf8'))?.[1];
    if (number !== undefined) return number;
  }
  return '0';
}

/** @param {Places} places @returns {BuildRecord | undefined} */
export function readRecord(places) {
  try {
    return JSON.parse(readFileSync(places.buildInfo, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Why the addon has to be built, or undefined when it is current. @param {Places} places @param {Inputs} inputs */
export function whyBuild(places, inputs) {
  if (!existsSync(places.addon)) return 'the addon is not built yet';
  const record = readRecord(places);
  if (record === undefined || record.addonBytes !== statSync(places.addon).size)
    return 'the addon has no valid build record';
  /** @type {[keyof Inputs, string][]} */
  const reasons = [
    ['torchRoot', 'libtorch is another one'],
    ['torchVersion', 'libtorch has another version'],
    ['torchCuda', 'libtorch was built for another CUDA'],
    ['sourceHash', "the addon's sources changed"],
    ['contract', 'the contract changed'],
    ['cudaInclude', 'the CUDA headers are elsewhere'],
    ['cudaLib', 'the CUDA runtime is elsewhere'],
    ['ncclInclude', "NCCL's header is elsewhere, came or went"],
    ['uring', 'liburing came or went'],
  ];
  return reasons.find(([key]) => record[key] !== inputs[key])?.[1];
}

/** Written last and by rename: a record beside an addon always tells the truth. @param {Places} places @param {BuildRecord} record */
export function writeRecord(places, record) {
  const draft = `${places.buildInfo}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(record, null, 2)}\n`);
  renameSync(draft, places.buildInfo);
}
