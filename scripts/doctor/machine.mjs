/** Limits of the machine or container that training runs into. */
import { readFileSync, statfsSync } from 'node:fs';
import os from 'node:os';
import { cgroupLimitBytes } from '../setup/memory.mjs';
import { formatBytes, off, ok } from './finding.mjs';

/** @typedef {import('./finding.mjs').Finding} Finding */

const GiB = 2 ** 30;
const capIpcLock = 14n;

/** @returns {Finding[]} */
export function checkMachine() {
  return [checkMemory(os.totalmem(), cgroupLimitBytes()), checkLockedMemory(), checkSharedMemory()];
}

/** @param {number} totalBytes @param {number | undefined} limitBytes @returns {Finding} */
export function checkMemory(totalBytes, limitBytes) {
  const usable = Math.min(totalBytes, limitBytes ?? totalBytes);
  const limit =
    limitBytes === undefined ? 'no limit from a control group' : `limited to ${formatBytes(limitBytes)} here`;
  const found = `${formatBytes(totalBytes)}, ${limit}`;
  if (usable >= 4 * GiB) return ok('memory', found);
  return off('memory', found, 'Small models only: give the machine or container 4 GiB or more.');
}

/** @returns {Finding} */
function checkLockedMemory() {
  const limits = readProc('/proc/self/limits');
  const soft = /^Max locked memory\s+(\S+)/m.exec(limits)?.[1] ?? 'unlimited';
  const effective = BigInt(`0x${/^CapEff:\s+(\w+)/m.exec(readProc('/proc/self/status'))?.[1] ?? '0'}`);
  return judgeLockedMemory(soft, ((effective >> capIpcLock) & 1n) === 1n);
}

/** @param {string} soft bytes, or `unlimited` @param {boolean} privileged has CAP_IPC_LOCK @returns {Finding} */
export function judgeLockedMemory(soft, privileged) {
  const name = 'ulimit -l';
  const shown = soft === 'unlimited' ? soft : formatBytes(Number(soft));
  if (privileged) return ok(name, `${shown}, but this process may lock any amount (CAP_IPC_LOCK)`);
  if (soft === 'unlimited' || Number(soft) >= GiB) return ok(name, shown);
  const remedy = 'Raise memlock in /etc/security/limits.conf, or in Docker run with --ulimit memlock=-1.';
  return off(name, `${shown}: buffers cannot be registered with io_uring`, remedy);
}

/** @returns {Finding} */
function checkSharedMemory() {
  const name = '/dev/shm';
  try {
    const { bsize, blocks, bavail } = statfsSync('/dev/shm');
    const found = `${formatBytes(bavail * bsize)} free of ${formatBytes(blocks * bsize)}`;
    if (blocks * bsize >= GiB) return ok(name, found);
    return off(
      name,
      `${found}: too small for several ranks on one machine`,
      'In Docker, run with --shm-size=8g or --ipc=host.',
    );
  } catch {
    return off(name, 'not mounted', 'Mount a tmpfs there: several ranks on one machine talk through it.');
  }
}

/** @param {string} file */
function readProc(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
