/** How much memory this process may use: the machine's, or less inside a container. */
import { readFileSync } from 'node:fs';
import os from 'node:os';

const GiB = 2 ** 30;
/** What one compiler process on libtorch's headers takes at its peak, with room to spare. */
const jobBytes = 1.5 * GiB;

/** @param {string} file @returns {number | undefined} */
function readNumber(file) {
  try {
    const value = Number(readFileSync(file, 'utf8').trim());
    return Number.isFinite(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The limit of this process's control group (version 2, else 1), undefined when there is none below the machine's memory.
 * @param {string} [root]
 */
export function cgroupLimitBytes(root = '/sys/fs/cgroup') {
  let own = '';
  try {
    own = readFileSync('/proc/self/cgroup', 'utf8');
  } catch {
    // not Linux
  }
  const v2 = /^0::(\/.*)$/m.exec(own)?.[1] ?? '/';
  const v1 = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(\/.*)$/m.exec(own)?.[1] ?? '/';
  const files = [
    `${root}${v2}/memory.max`,
    `${root}/memory.max`,
    `${root}/memory${v1}/memory.limit_in_bytes`,
    `${root}/memory/memory.limit_in_bytes`,
  ];
  const limits = files.map(readNumber).filter((bytes) => bytes !== undefined && bytes < os.totalmem());
  return limits.length > 0 ? Math.min(.../** @type {number[]} */ (limits)) : undefined;
}

/** Compile jobs that fit into processors and free memory at once. @param {number | undefined} wish */
export function compileJobs(wish) {
  if (wish !== undefined) return wish;
  const available = Math.min(readAvailable() ?? os.freemem(), cgroupLimitBytes() ?? Number.POSITIVE_INFINITY);
  return Math.max(1, Math.min(os.availableParallelism(), Math.floor(available / jobBytes)));
}

function readAvailable() {
  try {
    const kib = Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
    return Number.isNaN(kib) ? undefined : kib * 1024;
  } catch {
    return undefined;
  }
}
