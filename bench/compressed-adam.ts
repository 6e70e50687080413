/**
 * The host's AdamW on compressed states against the exact one: bf16 weights and gradients, in turn in one process.
 * Run: npx tsx bench/compressed-adam.ts --elements 4e6 --threads 1 --seconds 10
 */
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import type { UpdateGroup } from '../src/native/binding.ts';
import { native } from '../src/native/load.ts';
import { type Dtype, ops } from '../src/tensor/index.ts';

const { values } = parseArgs({
  options: {
    elements: { type: 'string', default: '4e6' },
    threads: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '10' },
  },
});
const elements = Number(values.elements);
const threads = Number(values.threads);
const group: UpdateGroup = {
  lr: 1e-4,
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weightDecay: 0.1,
  biasCorrection1: 0.5,
  biasCorrection2: 0.5,
  momentum: 0,
  nesterov: false,
};

const zeros = (count: number, dtype: Dtype) => ops.zeros([count], { dtype }).keep();
const randoms = (dtype: Dtype) => {
  const values = Float32Array.from({ length: elements }, (_, i) => Math.sin(i * 12.9898) * 1e-2);
  return ops.to(ops.fromArray(values, [elements]), { dtype }).keep();
};
const gradient = randoms('bfloat16');
const exact = {
  gradient: gradient.handle,
  master: randoms('float32').handle,
  m: zeros(elements, 'float32').handle,
  v: zeros(elements, 'float32').handle,
  parameterOut: zeros(elements, 'bfloat16').handle,
};
const blocks = Math.ceil(elements / 256);
const compressed = {
  gradient: gradient.handle,
  weight: randoms('bfloat16').handle,
  low: zeros(elements, 'int16').handle,
  m: zeros(elements, 'uint8').handle,
  root: zeros(elements, 'uint8').handle,
  mScales: zeros(blocks, 'float32').handle,
  rootScales: zeros(blocks, 'float32').handle,
  weightOut: null,
};

const addon = native();
const kernels: Record<string, () => void> = {
  exact: () => addon.optimizerUpdateMany('adamw', [group], [0], 1, [exact], threads),
  compressed: () => addon.optimizerUpdateCompressed('automatic', group, 1, compressed, threads),
  'compressed, scalar': () => addon.optimizerUpdateCompressed('scalar', group, 1, compressed, threads),
};
const times = new Map(Object.keys(kernels).map((name) => [name, [] as number[]]));
const end = performance.now() + 1000 * Number(values.seconds);
for (let round = 0; performance.now() < end; round++) {
  for (const [name, run] of Object.entries(kernels)) {
    const began = performance.now();
    run();
    if (round >= 2) times.get(name)!.push(performance.now() - began);
  }
}
console.log(
  `${cpus()[0]!.model}, ${cpus().length} cores, load ${loadavg()[0]!.toFixed(1)}, path ${addon.simdPath()}, ${elements} elements, ${threads} threads`,
);
console.log('| kernel | rounds | ns per parameter, median | best |\n|---|---|---|---|');
for (const [name, all] of times) {
  const sorted = all.sort((a, b) => a - b);
  const nanoseconds = (ms: number): string => ((ms * 1e6) / elements).toFixed(2);
  console.log(`| ${name} | ${all.length} | ${nanoseconds(sorted[sorted.length >> 1]!)} | ${nanoseconds(sorted[0]!)} |`);
}
