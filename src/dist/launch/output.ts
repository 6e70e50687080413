/** Where the lines of ranks go. */
import { closeSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { makeFolder, withIo } from '../../core/files.ts';
import type { Stream } from './messages.ts';

interface Writable {
  write(text: string): unknown;
}

export interface RankOutput extends Disposable {
  line(rank: number, stream: Stream, text: string): void;
}

/** Every line with its rank before it; a single rank's lines as they are. */
export function prefixedOutput(ranks: number, out: Writable, err: Writable): RankOutput {
  const width = String(ranks - 1).length;
  return {
    line(rank, stream, text) {
      const prefix = ranks === 1 ? '' : `[${String(rank).padStart(width)}] `;
      (stream === 'stdout' ? out : err).write(`${prefix}${text}\n`);
    },
    [Symbol.dispose]() {},
  };
}

/** One file a rank, `rank-0.log` and so on; rank 0 is shown as well. Restarts append. */
export function fileOutput(folder: string, out: Writable, err: Writable): RankOutput {
  makeFolder(path.resolve(folder));
  const files = new Map<number, number>();
  const fileOf = (rank: number): number => {
    const name = path.join(folder, `rank-${rank}.log`);
    const fd = files.get(rank) ?? withIo('open', name, () => openSync(name, 'a'));
    files.set(rank, fd);
    return fd;
  };
  return {
    line(rank, stream, text) {
      withIo('write', folder, () => writeSync(fileOf(rank), `${text}\n`));
      if (rank === 0) (stream === 'stdout' ? out : err).write(`${text}\n`);
    },
    [Symbol.dispose]() {
      for (const fd of files.values()) closeSync(fd);
      files.clear();
    },
  };
}
