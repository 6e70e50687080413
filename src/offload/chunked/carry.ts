/**
 * Takes everything that a store knows from one placement to another: budgets have no room for both, so it waits in a
 * nameless file meanwhile. Values go by parameter, since another course may lead to other chunks.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { TierraError } from '../../core/errors.ts';
import { formatBytes, MiB } from '../../core/units.ts';
import type { ArenaPlace } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import type { Parameter } from '../../nn/index.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, ops, type Tensor } from '../../tensor/index.ts';
import type { StateEntry } from '../store.ts';

const pieceBytes = 4 * MiB;

/** Bytes by name, in a file that is gone when the process is. */
export class CarryFile {
  readonly #file: number;
  readonly #places = new Map<string, { readonly at: number; readonly bytes: number }>();
  readonly #folder: string;
  #end = 0;

  /** Throws `E_OUT_OF_MEMORY` before anything is written when `bytes` do not fit. */
  constructor(folder: string | null, bytes: number) {
    this.#folder = folder ?? tmpdir();
    const { bavail, bsize } = statfsSync(this.#folder);
    if (bavail * bsize < bytes) {
      throw new TierraError(
        'E_OUT_OF_MEMORY',
        `planning the step anew needs ${formatBytes(bytes)} in ${this.#folder} for a moment, ${formatBytes(bavail * bsize)} are free there`,
        { hint: 'Make room there, or set memory.nvme.path (or TMPDIR) to a folder on a larger disk.' },
      );
    }
    const own = mkdtempSync(path.join(this.#folder, 'tierra-carry-'));
    try {
      this.#file = openSync(path.join(own, 'values'), 'wx+');
    } finally {
      rmSync(own, { recursive: true, force: true });
    }
  }

  has(name: string): boolean {
    return this.#places.has(name);
  }

  put(name: string, bytes: number, read: (into: Uint8Array, byteOffset: number) => void): void {
    this.#places.set(name, { at: this.#end, bytes });
    for (const [offset, size] of pieces(bytes)) {
      const piece = new Uint8Array(size);
      read(piece, offset);
      this.#each(piece, (done) => writeSync(this.#file, piece, done, size - done, this.#end + offset + done));
    }
    this.#end += bytes;
  }

  take(name: string, write: (from: Uint8Array, byteOffset: number) => void): void {
    const { at, bytes } = this.#places.get(name)!;
    for (const [offset, size] of pieces(bytes)) {
      const piece = new Uint8Array(size);
      this.#each(piece, (done) => readSync(this.#file, piece, done, size - done, at + offset + done));
      write(piece, offset);
    }
  }

  #each({ length }: Uint8Array, move: (done: number) => number): void {
    let done = 0;
    while (done < length) {
      const moved = attempted(() => move(done), this.#folder);
      if (moved === 0) throw new TierraError('E_IO', `the values that wait in ${this.#folder} end too early`);
      done += moved;
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}

function attempted(action: () => number, folder: string): number {
  try {
    return action();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new TierraError('E_IO', `values cannot wait in ${folder} while the step is planned anew: ${text}`, {
      cause: error,
    });
  }
}

function* pieces(bytes: number): Generator<readonly [number, number]> {
  for (let offset = 0; offset < bytes; offset += pieceBytes) yield [offset, Math.min(pieceBytes, bytes - offset)];
}

const nameOf = ({ parameter, kind }: StateEntry): string => `${parameter.name} ${kind}`;

export function putEntries(file: CarryFile, entries: readonly StateEntry[]): void {
  for (const entry of entries) file.put(nameOf(entry), entry.bytes, (into, offset) => entry.read(into, offset));
}

export function takeEntries(file: CarryFile, entries: readonly StateEntry[]): void {
  for (const entry of entries) {
    // Weights are there already: first values came from the file.
    if (entry.kind === 'weight') continue;
    file.take(nameOf(entry), (from, offset) => entry.write(from, offset));
  }
}

/** A parameter's weight as it waits in the file: a first value for the new placement. */
export function carriedWeight(file: CarryFile, parameter: Parameter, dtype: Dtype): Tensor {
  const value = ops.empty(parameter.shape, { dtype, device: 'cpu' });
  const flat = ops.view(value, [-1]);
  const size = dtypeBytes(dtype);
  file.take(`${parameter.name} weight`, (from, offset) => {
    const part = ops.slice(flat, 0, offset / size, (offset + from.length) / size);
    ops.copyInto(part, adopt(native().fromBytes(from, part.shape, dtypeCode(dtype))));
  });
  return value;
}

/** Bytes at a place in an arena, for `put` and `take`. */
export const readAt =
  ({ arena, offset }: ArenaPlace) =>
  (into: Uint8Array, byteOffset: number): void =>
    native().arenaRead(arena, offset + byteOffset, into);

export const writeAt =
  ({ arena, offset }: ArenaPlace) =>
  (from: Uint8Array, byteOffset: number): void =>
    native().arenaWrite(arena, offset + byteOffset, from);
