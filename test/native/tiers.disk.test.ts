/** What can be wrong with a disk, met from a training run: refused, worked around and said, or a clean error. */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { isTierraError, type TierraError } from '../../src/core/errors.ts';
import { native } from '../../src/native/load.ts';
import { type MemoryInput, placementNamed } from '../cases/placements.ts';
import { compiled } from '../compiled.ts';
import { faultScenario, type Oracle, oracle } from './tiersFaultRuns.ts';
import { type AnyEngine, batchOf, drop, hashesOf, start, trainStep, withFolder } from './tiersSupport.ts';

let expected: Oracle;
beforeAll(() => {
  expected = oracle();
});
afterEach(() => native().setFault(null));

const onDisk = (folder: string, nvme: object = {}): MemoryInput => {
  const memory = placementNamed('parameters and states mostly on disk').memory(expected.bytes, folder);
  return { ...memory, nvme: { ...memory.nvme, ...nvme } };
};

/** Starts an engine, does something with it, and gives all back. */
function using<T>(memory: MemoryInput, body: (engine: AnyEngine) => T): T {
  const engine = start(faultScenario(), memory);
  try {
    return body(engine);
  } finally {
    engine.dispose();
  }
}

const failure = (body: () => unknown): TierraError => {
  try {
    body();
  } catch (error) {
    if (isTierraError(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

const prepare = (engine: AnyEngine): void => {
  const batch = batchOf(0);
  try {
    engine.prepare(batch);
  } finally {
    drop(batch);
  }
};

/** Trains to the end and expects the bits of the undisturbed run. */
function expectOracle(engine: AnyEngine): void {
  const steps = Array.from({ length: faultScenario().steps }, () => trainStep(engine));
  expect(JSON.stringify([steps, hashesOf(engine)])).toBe(expected.seen);
}

/** A link to this process's nameless swap file. */
function swapFile(folder: string): string {
  for (const entry of readdirSync('/proc/self/fd')) {
    const link = `/proc/self/fd/${entry}`;
    try {
      if (readlinkSync(link).startsWith(folder) && readlinkSync(link).includes('deleted')) return link;
    } catch {
      // Closed meanwhile.
    }
  }
  throw new Error('no swap file is open');
}

describe('before training starts', () => {
  it('a budget that is too small for what must go to disk is refused', () => {
    withFolder((folder) => {
      const error = failure(() => using(onDisk(folder, { size: '128KiB' }), prepare));
      expect(error).toMatchObject({ code: 'E_PLAN' });
      expect(error.message).toMatch(/short/);
      expect(error.hint).toMatch(/raise memory\.\w+/);
      expect(readdirSync(folder)).toEqual([]);
    });
  });

  it('a path that is no folder is refused', () => {
    withFolder((folder) => {
      const file = path.join(folder, 'file');
      writeFileSync(file, '');
      const error = failure(() => using(onDisk(file), prepare));
      expect(error).toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining(`${file} is not a folder`) });
    });
  });

  it('a second run in the same folder is refused with the pid of the first', () => {
    withFolder((folder) => {
      using(onDisk(folder), (first) => {
        prepare(first);
        const error = failure(() => using(onDisk(folder), prepare));
        expect(error.message).toContain(String(process.pid));
        expectOracle(first);
      });
    });
  });

  it('files of a killed run are removed, and it is said', () => {
    withFolder((folder) => {
      writeFileSync(path.join(folder, 'tierra-swap.lock'), 'pid 1, run dead');
      writeFileSync(path.join(folder, 'tierra-swap-0.bin'), 'old bytes');
      using(onDisk(folder), (engine) => {
        prepare(engine);
        expect(engine.store.notes().join('\n')).toMatch(/removed .*tierra-swap-0\.bin.*killed run/);
      });
      expect(readdirSync(folder)).toEqual([]);
    });
  });
});

describe('worked around, and said', () => {
  it('io_uring forbidden: threads', () => {
    withFolder((folder) => {
      native().setFault('io.setup:EPERM@from=1');
      using(onDisk(folder), (engine) => {
        prepare(engine);
        expect(engine.store.notes().join('\n')).toMatch(/memory\.nvme \(threads\).*EPERM/);
        expectOracle(engine);
      });
    });
  });

  it.skipIf(!native().buildInfo.uring)(
    'locked memory refused: works unregistered and says how to raise the limit',
    () => {
      withFolder((folder) => {
        native().setFault('io.register:ENOMEM@from=1');
        using(onDisk(folder), (engine) => {
          prepare(engine);
          expect(engine.store.notes().join('\n')).toContain('ulimit -l');
          expectOracle(engine);
        });
      });
    },
  );

  it.skipIf(!existsSync('/dev/shm'))('tmpfs: no direct I/O', () => {
    const folder = mkdtempSync('/dev/shm/tierra-tiers-');
    using(onDisk(folder), (engine) => {
      prepare(engine);
      expect(engine.store.notes().join('\n')).toContain('tmpfs');
      expectOracle(engine);
    });
    rmSync(folder, { recursive: true });
  });
});

describe('in the middle of a run', () => {
  it('a flipped byte on disk is caught and named, and the process trains on', () => {
    withFolder((folder) => {
      using(onDisk(folder), (engine) => {
        trainStep(engine);
        hashesOf(engine);
        // Every byte of every extent: whichever is read next.
        const file = openSync(swapFile(folder), 'r+');
        const noise = Buffer.alloc(1 << 20, 0x5a);
        const { nvme } = Object.fromEntries(engine.store.use().map((use) => [use.tier, use]));
        for (let at = 0; at < nvme!.usedBytes; at += noise.length) {
          writeSync(file, noise, 0, Math.min(noise.length, nvme!.usedBytes - at), at);
        }
        closeSync(file);
        const error = failure(() => trainStep(engine));
        expect(error).toMatchObject({ code: 'E_CORRUPT' });
        expect(error.message).toMatch(/tierra-swap-0\.bin at byte \d+ \(chunk \d+/);
        expect(error.message).toMatch(/holds [a-z0-9_.]+weight/);
      });
      using(onDisk(folder), expectOracle);
    });
  });

  it('the disk full in the middle is an error that names file and chunk; a new engine works', () => {
    withFolder((folder) => {
      using(onDisk(folder), (engine) => {
        trainStep(engine);
        hashesOf(engine);
        native().setFault('io.write:ENOSPC@from=3');
        const error = failure(() => {
          trainStep(engine);
          trainStep(engine);
          hashesOf(engine);
        });
        expect(error).toMatchObject({ code: 'E_IO', details: { chunk: expect.any(Number) } });
        expect(error.message).toMatch(/tierra-swap-0\.bin.*ENOSPC/);
        native().setFault(null);
      });
      using(onDisk(folder), expectOracle);
    });
  });

  const canMount = spawnSync('unshare', ['-rm', 'true']).status === 0;
  it.skipIf(!canMount)('a real file system without room is refused before training', () => {
    withFolder((folder) => {
      const small = path.join(folder, 'small');
      mkdirSync(small);
      const script = `
        const { faultScenario } = await import(${JSON.stringify(compiled('test/native/tiersFaultRuns.ts'))});
        const { start, batchOf } = await import(${JSON.stringify(compiled('test/native/tiersSupport.ts'))});
        const engine = start(faultScenario(), ${JSON.stringify(onDisk(small))});
        try { engine.prepare(batchOf(0)); } catch (error) { console.log(error.code, error.message, error.hint); }
        engine.dispose();`;
      const command = 'mount -t tmpfs -o size=256k none "$1" && shift && exec "$@"';
      const node = [process.execPath, '--input-type=module', '-e', script];
      const run = spawnSync('unshare', ['-rm', 'sh', '-c', command, 'sh', small, ...node], { encoding: 'utf8' });
      expect(run.stdout).toMatch(/^E_OUT_OF_MEMORY .*swap/);
      expect(run.stdout).toContain(small);
    });
  });
});
