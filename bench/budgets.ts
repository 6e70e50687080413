/**
 * Are budgets kept as the operating system sees it? Trains a model of some hundred million parameters in a small GPU stand-in, less
 * host memory than it needs, and the rest on disk, and compares resident memory with what was promised.
 * `npx tsx bench/budgets.ts [--layers 16] [--width 1024] [--gpu 600MiB] [--cpu 1536MiB] [--steps 3] [--out file]`
 */
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { formatBytes, MiB } from '../src/core/units.ts';
import { initialize, launch } from '../src/engine/index.ts';
import { buildModel } from '../src/models/index.ts';
import { native } from '../src/native/load.ts';
import type { ChunkStore } from '../src/offload/chunked/chunkStore.ts';
import { ops, scope, type Tensor } from '../src/tensor/index.ts';

const { values: flags } = parseArgs({
  options: {
    layers: { type: 'string', default: '16' },
    width: { type: 'string', default: '1024' },
    gpu: { type: 'string', default: '600MiB' },
    cpu: { type: 'string', default: '1536MiB' },
    steps: { type: 'string', default: '3' },
    folder: { type: 'string', default: os.tmpdir() },
    out: { type: 'string' },
  },
});

/** A field of /proc/self/status in bytes. */
function status(field: string): number {
  const line = readFileSync('/proc/self/status', 'utf8').match(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm'));
  return Number(line?.[1] ?? Number.NaN) * 1024;
}

/** Makes VmHWM start anew. */
const resetPeak = (): void => {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // Without the right the peak is that of the whole process.
  }
};

function cgroupLimit(): string {
  for (const file of ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes']) {
    if (!existsSync(file)) continue;
    const text = readFileSync(file, 'utf8').trim();
    return Number(text) < 2 ** 50 ? formatBytes(Number(text)) : 'none';
  }
  return 'none';
}

/** Blocks of this process's nameless files in `folder`. */
function swapBlocks(folder: string): number {
  const seen = new Set<number>();
  let bytes = 0;
  for (const entry of readdirSync('/proc/self/fd')) {
    const link = `/proc/self/fd/${entry}`;
    try {
      if (!readlinkSync(link).startsWith(folder) || !readlinkSync(link).includes('deleted')) continue;
      const { ino, blocks } = statSync(link);
      if (!seen.has(ino)) bytes += blocks * 512;
      seen.add(ino);
    } catch {
      // Closed meanwhile.
    }
  }
  return bytes;
}

const width = Number(flags.width);
const folder = mkdtempSync(path.join(flags.folder, 'tierra-budgets-'));
const built = buildModel({
  architecture: 'llama',
  config: {
    vocab_size: 256,
    hidden_size: width,
    intermediate_size: Math.round((width * 8) / 3 / 64) * 64,
    num_hidden_layers: Number(flags.layers),
    num_attention_heads: width / 64,
    num_key_value_heads: width / 64,
    max_position_embeddings: 512,
  },
});
const context = launch({
  name: 'budgets',
  device: 'cpu',
  precision: 'fp32',
  train: { steps: 10, clipNorm: 1 },
  memory: { activations: 'recompute', gpu: flags.gpu, cpu: flags.cpu, nvme: { path: folder, size: '64GiB' } },
});
const batch = (seed: number): { ids: Tensor; labels: Tensor } => {
  const ids = BigInt64Array.from({ length: 256 }, (_, i) => BigInt((i * 7919 + seed * 104729) % 256));
  return { ids: ops.fromArray(ids, [1, 256]).keep(), labels: ops.fromArray(ids, [1, 256]).keep() };
};
// libtorch, its thread pools and the BLAS workspace are in memory from here on.
scope(() => ops.sum(ops.matmul(ops.zeros([512, 512]), ops.zeros([512, 512]))).item());
const engine = initialize({ context, model: built.model as never });
(globalThis as { gc?: () => void }).gc?.();
const baseline = status('VmRSS');
/** Node's own: its heap, code and buffers. */
const scriptBytes = (): number => {
  const { heapTotal, external } = process.memoryUsage();
  return heapTotal + external;
};
const scriptBaseline = scriptBytes();
resetPeak();
const rows: string[] = [];
const record = (what: string, seconds: number): number => {
  const peak = status('VmHWM') - baseline;
  const { allocatedBytes, reservedBytes } = native().memoryStats('cpu');
  const counts = [native().allocationCount(), native().memoryStats('cpu').systemAllocations];
  rows.push(
    `| ${what} | ${seconds.toFixed(1)} | ${formatBytes(status('VmRSS') - baseline)} | ${formatBytes(peak)} | ${formatBytes(allocatedBytes)} | ${formatBytes(reservedBytes)} | ${formatBytes(scriptBytes() - scriptBaseline)} | ${formatBytes(swapBlocks(folder))} | ${counts[0]} |`,
  );
  console.log(rows.at(-1));
  resetPeak();
  return peak;
};
const timed = (body: () => void): number => {
  const began = performance.now();
  body();
  return (performance.now() - began) / 1e3;
};

const first = batch(0);
const peaks = [
  record(
    'planned and placed',
    timed(() => engine.prepare(first as never)),
  ),
];
for (let step = 1; step <= Number(flags.steps); step++) {
  const { ids, labels } = batch(step);
  const seconds = timed(() => {
    engine.zeroGrad();
    scope(() => engine.backward(engine.forward({ ids, labels } as never) as Tensor));
    engine.step();
  });
  ids.dispose();
  labels.dispose();
  peaks.push(record(`step ${step}`, seconds));
}
const { plan } = engine.store as ChunkStore;
const { gpu, host, nvme } = plan!.budgets;
const worst = Math.max(...peaks);
const homes = (tier: string): string =>
  `${plan!.chunks.filter((chunk) => chunk.parameterHome === tier).length} / ${plan!.chunks.filter((chunk) => chunk.stateHome === tier).length}`;
const text = `# Budgets as the operating system sees them

${built.model.parameterCount.toLocaleString('en')} parameters in fp32 (llama, ${flags.layers} layers of width ${width}, bytes), AdamW, clipping, recomputation, 256 tokens a
step, on ${os.cpus().length} × ${os.cpus()[0]!.model.trim()}; cgroup limit: ${cgroupLimit()}. Baseline: resident memory of the process with libtorch loaded, before
anything is placed: ${formatBytes(baseline)}. Resident memory below is without it; the peak is VmHWM since the row before.

| | budget | arena | chunks at home there (parameters / states) |
|---|---|---|---|
| gpu | ${formatBytes(gpu)} | ${formatBytes(plan!.arenaBytes.gpu)} | ${homes('gpu')} |
| cpu | ${formatBytes(host)} | ${formatBytes(plan!.arenaBytes.host)} | ${homes('host')} |
| nvme | ${formatBytes(nvme)} | ${formatBytes(plan!.arenaBytes.nvme)} | ${homes('nvme')} |

| | seconds | resident | peak resident | libtorch in use | libtorch reserved | Node's heap and buffers | swap file blocks | arenas and swaps taken |
|---|---|---|---|---|---|---|---|---|
${rows.join('\n')}

gpu + cpu = ${formatBytes(gpu + host)}; the highest peak is ${formatBytes(worst)}: ${worst <= gpu + host ? 'kept' : `exceeded by ${formatBytes(worst - gpu - host)}`}.
`;
engine.dispose();
for (const tensor of Object.values(first)) tensor.dispose();
rmSync(folder, { recursive: true, force: true });
const out =
  flags.out ?? path.join(import.meta.dirname, 'results', `${new Date().toISOString().slice(0, 10)}-budgets.md`);
writeFileSync(out, text);
console.log(text);
/** Node's heap, thread stacks and the allocator's rounding: nothing that grows with the model. */
const slackBytes = 128 * MiB;
process.exitCode = worst <= gpu + host + slackBytes ? 0 : 1;
