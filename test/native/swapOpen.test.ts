import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { native, nativeIsBuilt } from '../../src/native/load.ts';
import { compiled } from '../compiled.ts';
import { mib, pattern, readArena, swapOptions, thrown, withFolder } from './swapSupport.ts';

describe.skipIf(!nativeIsBuilt())('opening a swap', () => {
  it('refuses a folder that is in use and names who holds it', () => {
    withFolder((folder) => {
      const swap = native().swapOpen(swapOptions(folder, { runId: 'the-first' }));
      const error = thrown(() => native().swapOpen(swapOptions(folder, { runId: 'the-second' })));
      expect(error).toMatchObject({ code: 'E_IO', details: { holder: `pid ${process.pid}, run the-first` } });
      native().swapClose(swap);
      native().swapClose(native().swapOpen(swapOptions(folder)));
      expect(readdirSync(folder)).toEqual([]);
    });
  });

  it('takes over the lock of a run that is gone and removes its files', () => {
    withFolder((folder) => {
      writeFileSync(path.join(folder, 'tierra-swap.lock'), 'pid 1, run dead');
      writeFileSync(path.join(folder, 'tierra-swap-0.bin'), 'old bytes');
      writeFileSync(path.join(folder, 'keep.txt'), 'not ours');
      const swap = native().swapOpen(swapOptions(folder));
      expect(native().swapInfo(swap).leftovers).toEqual([path.join(folder, 'tierra-swap-0.bin')]);
      native().swapClose(swap);
      expect(readdirSync(folder)).toEqual(['keep.txt']);
    });
  });

  it('refuses a path that is no folder, and one whose parent is missing', () => {
    withFolder((folder) => {
      const file = path.join(folder, 'file');
      writeFileSync(file, '');
      expect(thrown(() => native().swapOpen(swapOptions(file)))).toMatchObject({
        code: 'E_CONFIG',
        message: `the swap path ${file} is not a folder`,
      });
      expect(thrown(() => native().swapOpen(swapOptions(path.join(folder, 'a', 'b'))))).toMatchObject({
        code: 'E_CONFIG',
      });
      expect(readdirSync(folder)).toEqual(['file']);
    });
  });

  it('reserves its space up front: a disk too small is refused with need and have, and nothing is left', () => {
    withFolder((folder) => {
      const bytes = 2 ** 50;
      const error = thrown(() => native().swapOpen(swapOptions(folder, { bytes })));
      expect(error).toMatchObject({ code: 'E_OUT_OF_MEMORY', details: { neededBytes: bytes, path: folder } });
      expect((error as { details: { freeBytes: number } }).details.freeBytes).toBeGreaterThan(0);
      expect(readdirSync(folder)).toEqual([]);
    });
  });

  it('an error while reserving is an error of opening', () => {
    withFolder((folder) => {
      native().setFault('io.reserve:ENOSPC@k=1');
      expect(thrown(() => native().swapOpen(swapOptions(folder)))).toMatchObject({ code: 'E_OUT_OF_MEMORY' });
      native().setFault('io.reserve:EIO@k=1');
      expect(thrown(() => native().swapOpen(swapOptions(folder)))).toMatchObject({ code: 'E_IO' });
      native().setFault('io.reserve:EOPNOTSUPP@k=1');
      const swap = native().swapOpen(swapOptions(folder, { bytes: 5 * mib }));
      expect(native().swapInfo(swap).reasons.join()).toContain('filled with zeros');
      native().swapClose(swap);
      native().setFault(null);
    });
  });

  it.each(['EPERM', 'ENOSYS', 'ENOMEM'])('io_uring refused with %s: threads are used, and it is said', (kind) => {
    withFolder((folder) => {
      native().setFault(`io.setup:${kind}@from=1`);
      const swap = native().swapOpen(swapOptions(folder));
      expect(native().swapInfo(swap)).toMatchObject({ backend: 'threads' });
      expect(native().swapInfo(swap).reasons.join()).toContain(kind);
      native().swapClose(swap);
      expect(thrown(() => native().swapOpen(swapOptions(folder, { backend: 'uring' })))).toMatchObject({
        code: 'E_UNSUPPORTED',
      });
      // The second ring alone may be refused too, for want of locked memory.
      native().setFault(`io.setup:${kind}@k=2`);
      const mixed = native().swapOpen(swapOptions(folder));
      expect(native().swapInfo(mixed)).toMatchObject({ backend: 'threads' });
      native().swapClose(mixed);
      native().setFault(null);
    });
  });

  it('works unregistered when the kernel will not register files or buffers', () => {
    withFolder((folder) => {
      const arena = native().arenaCreate('host', 4 * mib, 0, false);
      native().setFault('io.register:ENOMEM@from=1');
      const swap = native().swapOpen(swapOptions(folder, { backend: 'uring' }));
      native().setFault(null);
      const info = native().swapInfo(swap);
      expect(info).toMatchObject({ registeredFiles: false, registeredBuffers: 0 });
      expect(info.reasons.join()).toContain('ulimit -l');
      native().arenaWrite(arena, 0, pattern(mib, 1));
      native().swapWrite(swap, { swapOffset: 0, arena, arenaOffset: 0, bytes: mib, chunk: 0, step: 0 });
      native().swapRead(swap, { swapOffset: 0, arena, arenaOffset: mib, bytes: mib, chunk: 0, step: 0 });
      expect(Buffer.compare(readArena(arena, mib, mib), pattern(mib, 1))).toBe(0);
      native().swapClose(swap);
      native().arenaDestroy(arena);
    });
  });

  it('registers arenas made before and after the swap, and forgets destroyed ones', () => {
    withFolder((folder) => {
      const before = native().arenaCreate('host', 2 * mib, 0, false);
      const swap = native().swapOpen(swapOptions(folder, { backend: 'uring' }));
      const after = native().arenaCreate('host', 2 * mib, 0, false);
      expect(native().swapInfo(swap).registeredBuffers).toBe(2);
      native().arenaDestroy(before);
      expect(native().swapInfo(swap).registeredBuffers).toBe(1);
      native().swapClose(swap);
      native().arenaDestroy(after);
    });
  });

  it.skipIf(!existsSync('/dev/shm'))('on tmpfs it works without direct I/O and says that it costs RAM', () => {
    const folder = mkdtempSync('/dev/shm/tierra-swap-test-');
    const swap = native().swapOpen(swapOptions(folder, { bytes: 4 * mib }));
    expect(native().swapInfo(swap)).toMatchObject({ direct: false, alignment: 1 });
    expect(native().swapInfo(swap).reasons.join()).toContain('tmpfs');
    const arena = native().arenaCreate('host', 2 * mib, 0, false);
    const extent = { swapOffset: 0, arena, arenaOffset: 0, bytes: mib + 3, chunk: 1, step: 1 };
    native().swapWrite(swap, extent);
    native().swapRead(swap, extent);
    native().swapClose(swap);
    native().arenaDestroy(arena);
    rmSync(folder, { recursive: true });
  });

  it.skipIf(spawnSync('python3', ['--version']).status !== 0)('under a real seccomp filter without io_uring', () => {
    withFolder((folder) => {
      // What Docker's default profile does: io_uring_setup (425 on every architecture) answers EPERM.
      const filter = `
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (6, 0, 0, 0x00050001), (6, 0, 0, 0x7fff0000)]
packed = b''.join(struct.pack('HBBI', *one) for one in code)
class Program(ctypes.Structure):
    _fields_ = [('count', ctypes.c_ushort), ('filter', ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(code), packed)), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])`;
      const script = `
        const { native } = await import(${JSON.stringify(compiled('src/native/load.ts'))});
        const arena = native().arenaCreate('host', 4194304, 0, false);
        const swap = native().swapOpen(${JSON.stringify(swapOptions(folder))});
        const extent = { swapOffset: 0, arena, arenaOffset: 0, bytes: 1000000, chunk: 1, step: 1 };
        native().swapWrite(swap, extent);
        native().swapRead(swap, extent);
        const { backend, reasons } = native().swapInfo(swap);
        console.log(backend, /EPERM/.test(reasons.join()));`;
      const node = [process.execPath, '--input-type=module', '-e', script];
      const run = spawnSync('python3', ['-c', filter, ...node], { encoding: 'utf8' });
      expect(run.stdout.trim()).toBe('threads true');
    });
  });

  const canMount = spawnSync('unshare', ['-rm', 'true']).status === 0;
  it.skipIf(!canMount)('a real file system that is too small is refused', () => {
    withFolder((folder) => {
      const small = path.join(folder, 'small');
      mkdirSync(small);
      const options = JSON.stringify(swapOptions(small, { bytes: 8 * mib }));
      const script = `
        const { native } = await import(${JSON.stringify(compiled('src/native/load.ts'))});
        try { native().swapOpen(${options}); } catch (error) { console.log(error.code, error.details.neededBytes); }`;
      const command = 'mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"';
      const node = [process.execPath, '--input-type=module', '-e', script];
      const run = spawnSync('unshare', ['-rm', 'sh', '-c', command, 'sh', small, ...node], { encoding: 'utf8' });
      expect(run.stdout.trim()).toBe(`E_OUT_OF_MEMORY ${8 * mib}`);
    });
  });
});
