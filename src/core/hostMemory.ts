/** How much RAM this process may use: what the machine has, and what its control group (container, job) allows. */
import { readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';
import { join } from 'node:path';

/** The limit of a control group and what is used of it. */
export interface GroupMemory {
  readonly limitBytes: number;
  /** Without page cache that the kernel would give back. */
  readonly usedBytes: number;
  /** The file that holds the limit: what to look at, or to raise. */
  readonly file: string;
}

export interface HostMemory {
  /** The smaller of the machine's RAM and the group's limit. */
  readonly totalBytes: number;
  /** What can be taken now without swapping or being killed. */
  readonly availableBytes: number;
  readonly group: GroupMemory | null;
}

/** `root` is where `/proc` and `/sys` are; for tests. */
export function hostMemory(root = '/'): HostMemory {
  const group = groupMemory(root);
  const [total, available] = [totalmem(), availableRam(root)];
  if (group === null) return { totalBytes: total, availableBytes: available, group };
  return {
    totalBytes: Math.min(total, group.limitBytes),
    availableBytes: Math.max(0, Math.min(available, group.limitBytes - group.usedBytes)),
    group,
  };
}

/** `MemAvailable`: free memory and the page cache that can be dropped. */
function availableRam(root: string): number {
  const match = /^MemAvailable:\s+(\d+) kB$/m.exec(textOf(join(root, 'proc/meminfo')) ?? '');
  return match === null ? freemem() : Number(match[1]) * 1024;
}

/** The tightest limit from this process's group up to the root; null where there is none. Knows version 1 and version 2. */
function groupMemory(root: string): GroupMemory | null {
  const lines = (textOf(join(root, 'proc/self/cgroup')) ?? '').split('\n').map((line) => line.split(':'));
  const limits: GroupMemory[] = [];
  for (const [id, controllers, path = '/'] of lines) {
    const names = controllers?.split(',') ?? [];
    if (id === '0' && controllers === '') limits.push(...limitsAlong(join(root, 'sys/fs/cgroup'), path, version2));
    else if (names.includes('memory')) limits.push(...limitsAlong(join(root, 'sys/fs/cgroup/memory'), path, version1));
  }
  const free = ({ limitBytes, usedBytes }: GroupMemory): number => limitBytes - usedBytes;
  return limits.reduce<GroupMemory | null>(
    (least, one) => (least === null || free(one) < free(least) ? one : least),
    null,
  );
}

interface Files {
  readonly limit: string;
  readonly used: string;
  readonly inactiveFile: string;
}

const version2: Files = { limit: 'memory.max', used: 'memory.current', inactiveFile: 'inactive_file' };
const version1: Files = {
  limit: 'memory.limit_in_bytes',
  used: 'memory.usage_in_bytes',
  inactiveFile: 'total_inactive_file',
};

/** In a container the path may be that of the host, and the container's own group the mount's root: that one is looked at too. */
function limitsAlong(mount: string, path: string, files: Files): GroupMemory[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '..');
  const folders = Array.from({ length: parts.length + 1 }, (_, count) => join(mount, ...parts.slice(0, count)));
  return folders.flatMap((folder) => {
    const file = join(folder, files.limit);
    const limitBytes = Number(textOf(file)?.trim());
    // "max", and in version 1 a number beyond any machine, stand for no limit.
    if (!(limitBytes > 0 && limitBytes < 2 ** 60)) return [];
    const used = Number(textOf(join(folder, files.used))?.trim()) || 0;
    const cache = new RegExp(`^${files.inactiveFile} (\\d+)$`, 'm').exec(textOf(join(folder, 'memory.stat')) ?? '');
    return [{ limitBytes, usedBytes: Math.max(0, used - Number(cache?.[1] ?? 0)), file }];
  });
}

function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
