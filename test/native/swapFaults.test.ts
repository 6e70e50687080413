import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { native, nativeIsBuilt } from '../../src/native/load.ts';
import { compiled } from '../compiled.ts';
import { type Bench, backends, mib, pattern, readArena, thrown, withSwap } from './swapSupport.ts';

const loader = compiled('src/native/load.ts');

/** Writes and reads one extent of 4 MiB and a bit; throws when what comes back differs. */
function roundTrip({ arena, swap }: Bench, seed: number): void {
  const extent = { swapOffset: 4096 * 3, arena, arenaOffset: 0, bytes: 4 * mib + 1000, chunk: 2, step: seed };
  native().arenaWrite(arena, 0, pattern(extent.bytes, seed));
  native().swapWrite(swap, extent);
  native().arenaFill(arena, 0, extent.bytes, 0);
  native().swapRead(swap, extent);
  if (Buffer.compare(readArena(arena, 0, extent.bytes), pattern(extent.bytes, seed)) !== 0)
    throw new Error('bytes differ');
}

/** The nameless file of this process's open swap, for damage from outside. */
function openSwapFile(folder: string): string {
  for (const entry of readdirSync('/proc/self/fd')) {
    const link = `/proc/self/fd/${entry}`;
    const target = spawnSync('readlink', [`/proc/${process.pid}/fd/${entry}`], { encoding: 'utf8' }).stdout.trim();
    if (target.startsWith(folder) && target.includes('deleted')) return link;
  }
  throw new Error('no nameless file is open');
}

describe.skipIf(!nativeIsBuilt()).each(backends)('faults through %s', (backend) => {
  it.each(['io.read', 'io.write'])('%s: short transfers are continued', (site) => {
    withSwap({ backend }, (bench) => {
      native().setFault(`${site}:short@every=2`);
      roundTrip(bench, 1);
      const stats = native().swapStats(bench.swap)[site === 'io.read' ? 'read' : 'write'];
      expect(stats.shortTransfers).toBeGreaterThan(0);
      expect(stats.bytes).toBe(4 * mib + 1000);
    });
  });

  it.each([
    ['io.read', 'EINTR'],
    ['io.read', 'EAGAIN'],
    ['io.read', 'EBUSY'],
    ['io.write', 'EINTR'],
    ['io.write', 'EAGAIN'],
    ['io.write', 'EBUSY'],
  ])('%s: %s in every third request is passed over and counted', (site, kind) => {
    withSwap({ backend }, (bench) => {
      native().setFault(`${site}:${kind}@every=3`);
      roundTrip(bench, 2);
      expect(native().swapStats(bench.swap)[site === 'io.read' ? 'read' : 'write'].retries).toBeGreaterThan(0);
    });
  });

  it.each(['EAGAIN', 'EINTR'])('%s without end becomes an error', (kind) => {
    withSwap({ backend }, (bench) => {
      native().setFault(`io.write:${kind}@from=1`);
      expect(thrown(() => roundTrip(bench, 3))).toMatchObject({ code: 'E_IO' });
    });
  });

  it('one EIO on a read is read again; a second is an error that names file and chunk', () => {
    withSwap({ backend }, (bench) => {
      native().setFault('io.read:EIO@k=2');
      roundTrip(bench, 4);
      expect(native().swapStats(bench.swap).read.retries).toBe(1);
      native().setFault('io.read:EIO@from=2');
      const error = thrown(() => roundTrip(bench, 5));
      expect(error).toMatchObject({ code: 'E_IO', details: { chunk: 2, step: 5, errno: 5 } });
      expect((error as Error).message).toContain(`${bench.folder}/tierra-swap-0.bin`);
      native().setFault(null);
      roundTrip(bench, 6);
    });
  });

  it.each(['EIO', 'ENOSPC', 'EDQUOT', 'EFBIG'])('%s on a write is an error at once, and the swap works on', (kind) => {
    withSwap({ backend }, (bench) => {
      native().setFault(`io.write:${kind}@k=3`);
      expect(thrown(() => roundTrip(bench, 7))).toMatchObject({
        code: 'E_IO',
        message: expect.stringContaining(kind),
        details: { chunk: 2, file: `${bench.folder}/tierra-swap-0.bin` },
      });
      native().setFault(null);
      roundTrip(bench, 8);
    });
  });

  it('no progress twice is an error', () => {
    withSwap({ backend, direct: false }, (bench) => {
      // Of the 4 KiB and 8 KiB that end an extent, half and half again soon is nothing.
      native().setFault('io.read:short@from=1');
      expect(() => roundTrip(bench, 9)).toThrow(/no progress/);
    });
  });

  it('a failed sync makes the swap unusable', () => {
    withSwap({ backend }, (bench) => {
      native().swapSync(bench.swap);
      native().setFault('io.fsync:EIO@k=1');
      expect(thrown(() => native().swapSync(bench.swap))).toMatchObject({ code: 'E_IO' });
      native().setFault(null);
      expect(thrown(() => native().swapSync(bench.swap))).toMatchObject({ code: 'E_IO' });
      expect(() => roundTrip(bench, 10)).toThrow(/cannot be trusted/);
    });
  });

  it('a flipped byte anywhere in the extent is caught', () => {
    withSwap({ backend }, (bench) => {
      const { arena, swap, folder } = bench;
      const extent = { swapOffset: 8192, arena, arenaOffset: 0, bytes: 2 * mib + 5000, chunk: 4, step: 11 };
      native().arenaWrite(arena, 0, pattern(extent.bytes, 1));
      native().swapWrite(swap, extent);
      const file = openSync(openSwapFile(folder), 'r+');
      const trailer = extent.swapOffset + native().swapExtentBytes(extent.bytes) - 4096;
      const places = [0, 1, mib - 1, mib, 2 * mib + 4999]
        .map((at) => extent.swapOffset + at)
        .concat(trailer, trailer + 60);
      for (const at of places) {
        const byte = Buffer.alloc(1);
        readSync(file, byte, 0, 1, at);
        byte[0]! ^= 0x10;
        writeSync(file, byte, 0, 1, at);
        expect(thrown(() => native().swapRead(swap, extent))).toMatchObject({
          code: 'E_CORRUPT',
          details: { chunk: 4 },
        });
        byte[0]! ^= 0x10;
        writeSync(file, byte, 0, 1, at);
      }
      native().swapRead(swap, extent);
      closeSync(file);
    });
  });

  it("last step's extent put back is caught", () => {
    withSwap({ backend }, ({ arena, swap, folder }) => {
      const extent = { swapOffset: 0, arena, arenaOffset: 0, bytes: mib, chunk: 4, step: 1 };
      const whole = native().swapExtentBytes(mib);
      native().swapWrite(swap, extent);
      const file = openSync(openSwapFile(folder), 'r+');
      const old = Buffer.alloc(whole);
      readSync(file, old, 0, whole, 0);
      native().swapWrite(swap, { ...extent, step: 2 });
      native().swapRead(swap, { ...extent, step: 2 });
      writeSync(file, old, 0, whole, 0);
      expect(thrown(() => native().swapRead(swap, { ...extent, step: 2 }))).toMatchObject({
        code: 'E_CORRUPT',
        details: { expected: 2, found: 1 },
      });
      closeSync(file);
    });
  });

  it('the k-th request fails for k = 1, 2, ... until none does: an error or the right bytes, never else', () => {
    for (const site of ['io.write', 'io.read']) {
      for (const kind of ['EIO', 'ENOSPC', 'short', 'EINTR', 'EAGAIN']) {
        withSwap({ backend }, (bench) => {
          for (let k = 1; ; k++) {
            native().setFault(`${site}:${kind}@k=${k}`);
            try {
              roundTrip(bench, k);
            } catch (error) {
              expect(error).toMatchObject({ code: 'E_IO', details: { chunk: 2 } });
            }
            if (native().faultHits(site) < k) break;
            expect(k).toBeLessThan(40);
          }
        });
      }
    }
  });

  it('kill in a write takes the process and leaves nothing that the next start does not clean', () => {
    withSwap({ backend }, ({ folder }) => {
      const inner = path.join(folder, 'inner');
      const script = `
        const { native } = await import(${JSON.stringify(loader)});
        const arena = native().arenaCreate('host', 4194304, 0, false);
        const swap = native().swapOpen({ paths: [${JSON.stringify(inner)}], bytes: 8388608, backend: '${backend}', direct: true,
          checksum: true, runId: 'victim', blockBytes: 1048576, readDepth: 4, writeDepth: 4 });
        native().swapWrite(swap, { swapOffset: 0, arena, arenaOffset: 0, bytes: 4194304, chunk: 0, step: 0 });
        console.log('not killed');`;
      const run = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
        env: { ...process.env, TIERRA_FAULT: 'io.write:kill@k=3' },
        encoding: 'utf8',
      });
      expect(run).toMatchObject({ signal: 'SIGKILL', stdout: '' });
      expect(readdirSync(inner)).toEqual(['tierra-swap.lock']);
    });
  });
});
