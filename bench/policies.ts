/**
 * Planned moves against reactive Belady and LRU, on the null device: same GPU memory, state homes and host optimizer; only what stays,
 * what leaves and the time of each fetch differ. Prints a table and writes it to bench/results. Run: npx tsx bench/policies.ts
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { formatBytes, formatSeconds, parseBytes } from '../src/core/units.ts';
import {
  comparePolicies,
  describeMachine,
  estimateTrace,
  layOut,
  type ParameterSpec,
  type Simulation,
} from '../src/memory/index.ts';

interface Shape {
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly keyValue: number;
  readonly vocabulary: number;
}

interface Case {
  readonly name: string;
  readonly shape: Shape;
  readonly budgets: readonly [gpu: string, host: string, nvme: string];
  readonly tokens: number;
  readonly microBatches?: number;
  readonly accumulation?: 'horizontal' | 'vertical';
  readonly mode?: 'training' | 'forward';
  /** Only low-rank adapters of this many elements per block learn. */
  readonly adapters?: number;
}

const llama8b: Shape = { layers: 32, hidden: 4096, intermediate: 14_336, keyValue: 1024, vocabulary: 128_256 };
const llama70b: Shape = { layers: 80, hidden: 8192, intermediate: 28_672, keyValue: 1024, vocabulary: 128_256 };
const llama3b: Shape = { layers: 28, hidden: 3072, intermediate: 8192, keyValue: 1024, vocabulary: 128_256 };

const cases: readonly Case[] = [
  { name: '3B, states on host', shape: llama3b, budgets: ['12GiB', '64GiB', '0'], tokens: 16_384 },
  { name: '3B, tight GPU', shape: llama3b, budgets: ['4GiB', '64GiB', '0'], tokens: 16_384 },
  { name: '8B, states on host', shape: llama8b, budgets: ['24GiB', '128GiB', '0'], tokens: 16_384 },
  { name: '8B, tight GPU', shape: llama8b, budgets: ['6GiB', '128GiB', '0'], tokens: 16_384 },
  { name: '8B, states partly on disk', shape: llama8b, budgets: ['16GiB', '64GiB', '400GiB'], tokens: 16_384 },
  {
    name: '8B, 4 micro-batches, horizontal',
    shape: llama8b,
    budgets: ['16GiB', '160GiB', '0'],
    tokens: 4096,
    microBatches: 4,
  },
  {
    name: '8B, 4 micro-batches, vertical',
    shape: llama8b,
    budgets: ['16GiB', '160GiB', '0'],
    tokens: 4096,
    microBatches: 4,
    accumulation: 'vertical',
  },
  { name: '8B, forward only', shape: llama8b, budgets: ['8GiB', '32GiB', '0'], tokens: 4096, mode: 'forward' },
  { name: '8B, adapters only', shape: llama8b, budgets: ['8GiB', '32GiB', '0'], tokens: 4096, adapters: 1 << 20 },
  { name: '70B, three tiers', shape: llama70b, budgets: ['24GiB', '128GiB', '2TB'], tokens: 16_384 },
];

function parameters({ shape, adapters }: Case): ParameterSpec[] {
  const { layers, hidden, intermediate, keyValue, vocabulary } = shape;
  const list: ParameterSpec[] = [];
  const add = (unit: number, elements: number, trainable = adapters === undefined): void => {
    list.push({ id: list.length, name: `unit${unit}.${list.length}`, unit, elements, trainable, group: 0 });
  };
  add(0, vocabulary * hidden);
  for (let unit = 1; unit <= layers; unit++) {
    for (const columns of [hidden, keyValue, keyValue, hidden, intermediate, intermediate, intermediate])
      add(unit, hidden * columns);
    if (adapters !== undefined) add(unit, adapters, true);
  }
  add(layers + 1, vocabulary * hidden);
  return list;
}

function row(name: string, policy: string, run: Simulation, belady: Simulation): string {
  const stall = Object.values(run.stallSeconds).reduce((sum, seconds) => sum + seconds, 0);
  const { toDevice, toHost, read, write } = run.movedBytes;
  const share = belady.movedBytes.toDevice > 0 ? `${((100 * toDevice) / belady.movedBytes.toDevice).toFixed(1)}%` : '-';
  const bytes = [toDevice, toHost, read + write].map(formatBytes);
  return `| ${[name, policy, ...bytes, share, formatSeconds(run.computeSeconds), formatSeconds(stall), formatSeconds(run.stepSeconds)].join(' | ')} |`;
}

const machine = describeMachine({ name: 'described: 600 TFLOP/s, PCIe 54 GB/s, DRAM 160 GB/s, disk 2 GB/s each way' });
const lines = [
  '# Planned, reactive Belady, LRU',
  '',
  `Virtual clock, no hardware. Machine ${machine.name}. One step in its steady course; recomputation on; bf16 with fp32 states.`,
  'The three share GPU memory, state homes and the host optimizer; only what stays, what leaves and the time of each fetch differ.',
  '',
  '| case | policy | to GPU | to host | disk | to GPU, of Belady | compute | waiting | step |',
  '|---|---|---|---|---|---|---|---|---|',
];
let worst = { name: '', ratio: 0 };
for (const item of cases) {
  const layout = layOut(parameters(item));
  const [gpu, host, nvme] = item.budgets.map((size) => parseBytes(size)) as [number, number, number];
  const { tokens, microBatches = 1, accumulation = 'horizontal', mode = 'training' } = item;
  const trace = estimateTrace({ layout, machine, mode, tokens, microBatches, accumulation, recompute: true });
  const types = { computeBytes: 2, stateBytes: 4 } as const;
  const { planned, belady, lru } = comparePolicies({ layout, trace, types, machine, budgets: { gpu, host, nvme } });
  const ratio = planned.stepSeconds / belady.stepSeconds;
  if (ratio > worst.ratio) worst = { name: item.name, ratio };
  lines.push(
    row(item.name, 'planned', planned, belady),
    row('', 'belady', belady, belady),
    row('', 'lru', lru, belady),
  );
}
lines.push('', `The planned step takes ${worst.ratio.toFixed(4)} of Belady's where it gains least ("${worst.name}").`);
const text = `${lines.join('\n')}\n`;
console.log(text);
const folder = fileURLToPath(new URL('./results/', import.meta.url));
mkdirSync(folder, { recursive: true });
writeFileSync(`${folder}${new Date().toISOString().slice(0, 10)}-policies.md`, text);
