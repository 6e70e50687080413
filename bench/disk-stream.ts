/**
 * Streams chunks through the executor, read-next and write-previous at once, against a bare io_uring loop of the same
 * sizes, blocks and depth on the same disk, interleaved. With and without checksums.
 *
 *   npx tsx bench/disk-stream.ts [--folder DIR] [--rounds N] [--half-mib N] [--chunk-mib N] [--block-mib N] [--depth N]
 *
 * Uses up to 6 x half-mib of disk (3.75 GiB by default) and leaves nothing. Writes bench/results/<date>-disk-stream.md.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { ArenaId, ExecutorId, SwapId, Ticket, TicketId } from '../src/native/binding.ts';
import { native } from '../src/native/load.ts';

const mib = 2 ** 20;
const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: tmpdir() },
    rounds: { type: 'string', default: '7' },
    'half-mib': { type: 'string', default: '640' },
    'chunk-mib': { type: 'string', default: '32' },
    'block-mib': { type: 'string', default: '2' },
    depth: { type: 'string', default: '16' },
  },
});
const rounds = Number(values.rounds);
const halfBytes = Number(values['half-mib']) * mib;
const chunkBytes = Number(values['chunk-mib']) * mib;
const blockBytes = Number(values['block-mib']) * mib;
const depth = Number(values.depth);
const chunks = halfBytes / chunkBytes;
const slots = 4;

interface Stream {
  readonly name: string;
  readonly swap: SwapId;
  readonly executor: ExecutorId;
  next: number;
  step: number;
}

function openStream(name: string, folder: string, checksum: boolean): Stream {
  const extent = native().swapExtentBytes(chunkBytes);
  const swap = native().swapOpen({
    paths: [path.join(folder, name)],
    bytes: 2 * chunks * extent,
    backend: 'auto',
    direct: true,
    checksum,
    runId: name,
    blockBytes,
    readDepth: depth,
    writeDepth: depth,
  });
  const executor = native().executorCreate({ device: -1, updateThreads: 1, scaleCells: 1, timelineCapacity: 10_000 });
  return { name, swap, executor, next: 1, step: 0 };
}

/** Each chunk is read from the extent of the last step and written to its other one. Returns seconds. */
function pass(stream: Stream, arena: ArenaId): number {
  const extent = native().swapExtentBytes(chunkBytes);
  const { swap, executor, step } = stream;
  const side = (s: number) => (s % 2) * chunks * extent;
  const tickets: Ticket[] = [];
  const base = stream.next;
  for (let chunk = 0; chunk < chunks; chunk++) {
    const id = (base + 2 * chunk) as TicketId;
    const freed = chunk >= slots ? [(base + 2 * (chunk - slots) + 1) as TicketId] : [];
    const common = { afterMoment: -1, afterCell: -1, cause: 'stream', chunk, swap, arena, bytes: chunkBytes };
    const place = { arenaOffset: (chunk % slots) * chunkBytes };
    const from = { swapOffset: side(step) + chunk * extent, step };
    const to = { swapOffset: side(step + 1) + chunk * extent, step: step + 1 };
    if (step > 0) tickets.push({ ...common, ...place, ...from, id, lane: 'read', after: freed });
    tickets.push({
      ...common,
      ...place,
      ...to,
      id: (id + 1) as TicketId,
      lane: 'write',
      after: step > 0 ? [id] : freed,
    });
  }
  stream.next += 2 * chunks;
  stream.step += 1;
  const start = native().nowUs();
  native().submit(executor, tickets);
  native().drain(executor);
  return (native().nowUs() - start) / 1e6;
}

const median = (of: readonly number[]) => [...of].sort((a, b) => a - b)[Math.floor(of.length / 2)]!;
const rate = (seconds: number) => (2 * halfBytes) / seconds / 1e9;
const spread = (of: readonly number[]) =>
  `${rate(median(of)).toFixed(2)} (${rate(Math.max(...of)).toFixed(2)} to ${rate(Math.min(...of)).toFixed(2)})`;

const folder = mkdtempSync(path.join(values.folder, 'tierra-disk-bench-'));
try {
  const arena = native().arenaCreate('host', slots * chunkBytes, 0, true);
  native().arenaFill(arena, 0, slots * chunkBytes, 0x5c);
  const hash = Array.from({ length: 9 }, () => native().checksumRate(arena));
  const checked = openStream('checked', folder, true);
  const unchecked = openStream('unchecked', folder, false);
  native().plainLoopOpen(folder, halfBytes, blockBytes, depth);
  // Two passes fill both extents of every chunk; unwritten space would read back without touching the disk.
  for (const stream of [checked, unchecked]) for (let i = 0; i < 2; i++) pass(stream, arena);

  const plain: number[] = [];
  const seconds = new Map<Stream, number[]>([
    [checked, []],
    [unchecked, []],
  ]);
  const ratios = new Map<Stream, number[]>([
    [checked, []],
    [unchecked, []],
  ]);
  for (let round = 0; round < rounds; round++) {
    for (const stream of [checked, unchecked]) {
      const before = native().plainLoopRun();
      const ours = pass(stream, arena);
      const after = native().plainLoopRun();
      plain.push(before, after);
      seconds.get(stream)!.push(ours);
      ratios.get(stream)!.push((before + after) / 2 / ours);
    }
  }
  const info = native().swapInfo(checked.swap);
  const ratio = (stream: Stream) => {
    const all = ratios.get(stream)!;
    return `${median(all).toFixed(3)} (${Math.min(...all).toFixed(3)} to ${Math.max(...all).toFixed(3)})`;
  };
  const report = `# Streaming chunks from and to disk

\`${`npx tsx bench/disk-stream.ts ${process.argv.slice(2).join(' ')}`.trim()}\`, ${new Date().toISOString().slice(0, 10)}

Each pass reads ${halfBytes / mib} MiB and writes ${halfBytes / mib} MiB at the same time, in chunks of ${chunkBytes / mib} MiB and blocks of ${blockBytes / mib} MiB, ${depth}
blocks in flight each way. Every pass of ours stands between two passes of the bare loop; its ratio is their mean time over its own.
${rounds} rounds; medians, then the lowest and highest. Read and written bytes together.

| | GB/s | ratio to the bare loop beside it |
|---|---|---|
| bare io_uring loop | ${spread(plain)} | 1 |
| executor, checksums verified | ${spread(seconds.get(checked)!)} | ${ratio(checked)} |
| executor, without checksums | ${spread(seconds.get(unchecked)!)} | ${ratio(unchecked)} |

Checksum on one thread, bytes in RAM: ${(median(hash) / 1e9).toFixed(1)} GB/s (median of ${hash.length}).

Back end ${info.backend}, direct ${info.direct}, registered buffers ${info.registeredBuffers}, registered files ${info.registeredFiles}${info.reasons.length > 0 ? `; ${info.reasons.join('; ')}` : ''}.
Machine: ${cpus()[0]?.model.trim()} x ${cpus().length}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB RAM, Linux ${release()}, ${execFileSync('df', ['--output=source,fstype', folder]).toString().trim().split('\n')[1]},
load average ${loadavg()[0]!.toFixed(1)} (shared with other work).
`;
  console.log(report);
  const results = path.resolve(path.dirname(fileURLToPath(import.meta.url)), 'results');
  mkdirSync(results, { recursive: true });
  writeFileSync(path.join(results, `${new Date().toISOString().slice(0, 10)}-disk-stream.md`), report);
  for (const stream of [checked, unchecked]) {
    native().executorDestroy(stream.executor);
    native().swapClose(stream.swap);
  }
  native().plainLoopClose();
  native().arenaDestroy(arena);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
