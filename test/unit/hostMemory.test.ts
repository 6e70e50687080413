import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { resolveConfig } from '../../src/config/index.ts';
import { hostMemory } from '../../src/core/hostMemory.ts';
import { MiB } from '../../src/core/units.ts';
import { memoryWarning } from '../../src/engine/memoryWarning.ts';

/** A tree with these files, as `/`. */
function machine(files: Record<string, string | number>): string {
  const root = mkdtempSync(join(tmpdir(), 'tierra-memory-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), `${text}\n`);
  }
  return root;
}

const meminfo = { 'proc/meminfo': 'MemTotal: 9999 kB\nMemAvailable:   262144 kB' };

describe('what this process may use', () => {
  test('without control groups: what the machine has', () => {
    expect(hostMemory(machine(meminfo))).toEqual({ totalBytes: totalmem(), availableBytes: 256 * MiB, group: null });
    expect(hostMemory()).toMatchObject({ totalBytes: expect.any(Number), availableBytes: expect.any(Number) });
  });

  test('version 2: the tightest limit on the way up, page cache not counted', () => {
    const at = 'sys/fs/cgroup/job/step';
    const root = machine({
      ...meminfo,
      'proc/self/cgroup': '0::/job/step',
      [`${at}/memory.max`]: 'max',
      [`${at}/memory.current`]: 10 * MiB,
      'sys/fs/cgroup/job/memory.max': 100 * MiB,
      'sys/fs/cgroup/job/memory.current': 60 * MiB,
      'sys/fs/cgroup/job/memory.stat': `anon 1\ninactive_file ${20 * MiB}\nother 3`,
    });
    expect(hostMemory(root)).toEqual({
      totalBytes: 100 * MiB,
      availableBytes: 60 * MiB,
      group: { limitBytes: 100 * MiB, usedBytes: 40 * MiB, file: join(root, 'sys/fs/cgroup/job/memory.max') },
    });
  });

  test('version 1, and the number that stands for no limit there', () => {
    const group = 'sys/fs/cgroup/memory/docker/abc';
    const files = {
      ...meminfo,
      'proc/self/cgroup': '5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712',
      [`${group}/memory.limit_in_bytes`]: 64 * MiB,
      [`${group}/memory.usage_in_bytes`]: 30 * MiB,
      [`${group}/memory.stat`]: `total_inactive_file ${6 * MiB}`,
    };
    expect(hostMemory(machine(files))).toMatchObject({ totalBytes: 64 * MiB, availableBytes: 40 * MiB });
    const { [`${group}/memory.limit_in_bytes`]: _, ...unlimited } = files;
    expect(hostMemory(machine(unlimited)).group).toBeNull();
  });

  test('in a container whose group is the root of the mount', () => {
    const root = machine({
      ...meminfo,
      'proc/self/cgroup': '0::/../../system.slice/docker-abc.scope',
      'sys/fs/cgroup/memory.max': 50 * MiB,
      'sys/fs/cgroup/memory.current': 5 * MiB,
    });
    expect(hostMemory(root)).toMatchObject({ totalBytes: 50 * MiB, availableBytes: 45 * MiB });
  });
});

test('a plan beyond the limit is said with the numbers and the setting', () => {
  const config = resolveConfig({ memory: { cpu: '80MiB' } });
  const group = { limitBytes: 100 * MiB, usedBytes: 40 * MiB, file: '/sys/fs/cgroup/memory.max' };
  const before = { totalBytes: 100 * MiB, availableBytes: 60 * MiB, group };
  expect(memoryWarning(60 * MiB, before, config)).toBeNull();
  expect(memoryWarning(80 * MiB, before, config)).toBe(
    'this run needs 80.0 MiB of RAM and /sys/fs/cgroup/memory.max allows 100 MiB, of which 40.0 MiB are in use: the ' +
      'kernel would end it without a message. Lower memory.cpu by 20.0 MiB, or raise the limit',
  );
  const roomy = { totalBytes: 100 * MiB, availableBytes: 60 * MiB, group: null };
  expect(memoryWarning(61 * MiB, roomy, resolveConfig({}))).toContain('the machine has 60.0 MiB to give');
});
