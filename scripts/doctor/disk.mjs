/** The folder for the disk tier: does it take O_DIRECT, how much is free, and (asked for by `--path`) how fast it is. */
import { constants, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { broken, formatBytes, off, ok } from './finding.mjs';

/** @typedef {import('./finding.mjs').Finding} Finding */

const blockBytes = 4 * 2 ** 20;
const depth = 4; // libuv has four threads for files
const largestFile = 4 * 2 ** 30;

/** @typedef {{ Memory: new (size: { initial: number }) => { buffer: ArrayBuffer } }} WasmMemory missing in the Node types */

/** WebAssembly memory starts on a page, and O_DIRECT wants aligned memory, which Buffer does not promise. @param {number} bytes */
function alignedBytes(bytes) {
  const { WebAssembly } = /** @type {{ WebAssembly: WasmMemory }} */ (/** @type {unknown} */ (globalThis));
  return new Uint8Array(new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) }).buffer, 0, bytes);
}

/** @param {string} folder @param {{ measure: boolean, seconds?: number }} options @returns {Promise<Finding>} */
export async function checkDisk(folder, { measure, seconds = 2 }) {
  const name = 'disk';
  let scratch;
  try {
    scratch = mkdtempSync(path.join(folder, '.tierra-doctor-'));
  } catch (error) {
    return broken(
      name,
      `${folder} cannot be written: ${/** @type {Error} */ (error).message}`,
      'Choose another folder with --path.',
    );
  }
  try {
    const file = path.join(scratch, 'probe');
    const { bavail, bsize } = statfsSync(folder);
    const free = bavail * bsize;
    const where = `${folder}, ${formatBytes(free)} free`;
    const problem = directProblem(file);
    if (problem !== undefined) {
      return off(
        name,
        `${where}, no O_DIRECT (${problem})`,
        'The disk tier needs a file system such as ext4 or xfs: use --path.',
      );
    }
    if (!measure) return ok(name, `${where}, O_DIRECT works (--path DIR measures its speed)`);
    const fileBytes = Math.floor(Math.min(largestFile, free / 4) / blockBytes) * blockBytes;
    if (fileBytes < depth * blockBytes) return off(name, `${where}: too full to measure`, 'Free some space.');
    const write = await bandwidth(file, 'write', fileBytes, seconds / 2);
    const read = await bandwidth(file, 'read', write.extentBytes, seconds / 2);
    return ok(name, `${where}, O_DIRECT writes ${perSecond(write)} and reads ${perSecond(read)}`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** @param {string} file @returns {string | undefined} */
function directProblem(file) {
  try {
    const fd = openSync(file, constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT);
    writeSync(fd, alignedBytes(65536), 0, 4096, 0);
    return undefined;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code ?? String(error);
  }
}

/**
 * Streams through a file for a while, several blocks in flight, starting over at its end.
 * @param {string} file @param {'read' | 'write'} direction @param {number} fileBytes @param {number} seconds
 */
async function bandwidth(file, direction, fileBytes, seconds) {
  const handle = await open(file, constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT);
  const started = performance.now();
  let moved = 0;
  let next = 0;
  const worker = async () => {
    const bytes = alignedBytes(blockBytes);
    crypto.getRandomValues(bytes.subarray(0, 65536));
    while (performance.now() - started < seconds * 1000) {
      const position = next % fileBytes;
      next += blockBytes;
      if (direction === 'write') await handle.write(bytes, 0, blockBytes, position);
      else await handle.read(bytes, 0, blockBytes, position);
      moved += blockBytes;
    }
  };
  try {
    await Promise.all(Array.from({ length: depth }, worker));
    if (direction === 'write') await handle.datasync();
    return { moved, seconds: (performance.now() - started) / 1000, extentBytes: Math.min(next, fileBytes) };
  } finally {
    await handle.close();
  }
}

/** @param {{ moved: number, seconds: number }} measured */
function perSecond({ moved, seconds }) {
  return `${(moved / seconds / 1e9).toFixed(2)} GB/s`;
}
