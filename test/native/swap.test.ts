import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { native, nativeIsBuilt } from '../../src/native/load.ts';
import { compilerIsHere, runHostProgram } from './hostProgram.ts';
import { backends, mib, pattern, readArena, thrown, withSwap } from './swapSupport.ts';

describe.skipIf(!nativeIsBuilt()).each(backends)('swap through %s', (backend) => {
  const sizes = [1, 4095, 4096, 4097, mib - 1, mib, mib + 4096, 3 * mib + 17];

  it.each(sizes)('gives back the %i bytes that were written', (bytes) => {
    withSwap({ backend }, ({ arena, swap }) => {
      const payload = pattern(bytes, bytes);
      native().arenaWrite(arena, 4096, payload);
      native().swapWrite(swap, { swapOffset: 8192, arena, arenaOffset: 4096, bytes, chunk: 3, step: 7 });
      native().arenaFill(arena, 0, 16 * mib, 0xee);
      native().swapRead(swap, { swapOffset: 8192, arena, arenaOffset: 8 * mib, bytes, chunk: 3, step: 7 });
      expect(Buffer.compare(readArena(arena, 8 * mib, bytes), payload)).toBe(0);
      expect(readArena(arena, 8 * mib + bytes, 64)).toEqual(new Uint8Array(64).fill(0xee));
      expect(readArena(arena, 8 * mib - 64, 64)).toEqual(new Uint8Array(64).fill(0xee));
    });
  });

  it('keeps random extents apart, striped over three files', () => {
    withSwap({ backend, readDepth: 3, writeDepth: 5 }, ({ folder, arena }) => {
      const other = `${folder}/striped`;
      const swap = native().swapOpen({
        paths: [other, other, `${folder}/second`],
        bytes: 32 * mib,
        backend,
        direct: true,
        checksum: true,
        runId: 'striped',
        blockBytes: 2 * mib,
        readDepth: 3,
        writeDepth: 5,
      });
      fc.assert(
        fc.property(fc.array(fc.integer({ min: 1, max: 5 * mib }), { minLength: 1, maxLength: 5 }), (lengths) => {
          let at = 0;
          const extents = lengths.map((bytes, chunk) => {
            const extent = { swapOffset: at, arena, arenaOffset: 0, bytes, chunk, step: 1 };
            at += native().swapExtentBytes(bytes);
            return extent;
          });
          for (const extent of extents) {
            native().arenaWrite(arena, 0, pattern(extent.bytes, extent.chunk));
            native().swapWrite(swap, extent);
          }
          for (const extent of extents) {
            native().arenaFill(arena, 0, 6 * mib, 0);
            native().swapRead(swap, extent);
            const same = Buffer.compare(readArena(arena, 0, extent.bytes), pattern(extent.bytes, extent.chunk));
            expect(same).toBe(0);
          }
        }),
        { numRuns: 12 },
      );
      native().swapClose(swap);
    });
  });

  it('uses direct I/O, registered where the kernel can, and says how', () => {
    withSwap({ backend }, ({ swap }) => {
      const info = native().swapInfo(swap);
      expect(info.backend).toBe(backend);
      expect(info.direct ? info.alignment : 4096).toBe(4096);
      expect(info.direct || info.reasons.length > 0).toBe(true);
      if (backend === 'uring') expect(info.registeredFiles).toBe(true);
    });
  });

  it('leaves nothing in the folder but its lock, and nothing after closing', () => {
    withSwap({ backend }, ({ folder, arena, swap }) => {
      native().swapWrite(swap, { swapOffset: 0, arena, arenaOffset: 0, bytes: mib, chunk: 0, step: 0 });
      expect(readdirSync(folder)).toEqual(['tierra-swap.lock']);
    });
  });

  it('takes other bytes than were asked for as corrupt, with both numbers', () => {
    withSwap({ backend }, ({ arena, swap }) => {
      const extent = { swapOffset: 0, arena, arenaOffset: 0, bytes: mib + 100, chunk: 5, step: 9 };
      native().swapWrite(swap, extent);
      native().swapRead(swap, extent);
      const cases = [
        { change: { step: 10 }, expected: 10, found: 9 },
        { change: { chunk: 6 }, expected: 6, found: 5 },
      ];
      for (const { change, expected, found } of cases) {
        const error = thrown(() => native().swapRead(swap, { ...extent, ...change }));
        expect(error).toMatchObject({ code: 'E_CORRUPT', details: { expected, found, ...change } });
      }
      expect(thrown(() => native().swapRead(swap, { ...extent, bytes: mib }))).toMatchObject({ code: 'E_CORRUPT' });
      expect(thrown(() => native().swapRead(swap, { ...extent, swapOffset: 8 * mib }))).toMatchObject({
        code: 'E_CORRUPT',
        message: expect.stringContaining('nothing was ever written there'),
      });
    });
  });

  it('refuses extents outside the swap or the arena, and unaligned ones', () => {
    withSwap({ backend }, ({ arena, swap }) => {
      const extent = { swapOffset: 0, arena, arenaOffset: 0, bytes: mib, chunk: 0, step: 0 };
      const bad = [
        { swapOffset: 31 * mib },
        { swapOffset: 32 * mib },
        { swapOffset: 100 },
        { arenaOffset: 16 * mib - 4096 },
        { arenaOffset: 512 },
        { bytes: 0 },
        { bytes: 2 ** 53 },
      ];
      for (const change of bad) {
        expect(thrown(() => native().swapWrite(swap, { ...extent, ...change }))).toMatchObject({ code: 'E_ARGUMENT' });
      }
      native().swapWrite(swap, { ...extent, swapOffset: 31 * mib - 4096 });
    });
  });
});

it.skipIf(!compilerIsHere)('bytes are hashed alike in plain code and on vector units', () => {
  expect(runHostProgram('checksumHost', ['io/checksum'])).toBe('compared 2172, different 0, 4a245a03471541ea\n');
});
