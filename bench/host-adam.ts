/**
 * The host optimizer against libtorch's fused AdamW and against the memory itself, interleaved in one process.
 *
 *   npx tsx bench/host-adam.ts [--elements 1e6,1e7,1e8] [--threads 4] [--seconds 3]
 *
 * Prints a Markdown table: parameters per second (median and best), the ratio of medians taken pair by pair, and the share
 * of a triad's bytes per second (a = b + s * c in fp32, 12 bytes an element, by libtorch on the same threads).
 */
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import type { TensorHandle } from '../src/native/binding.ts';
import { native } from '../src/native/load.ts';
import { adamw, constant, groupParameters, hyperparametersAt } from '../src/optim/index.ts';
import { type Dtype, dtypeCode } from '../src/tensor/dtype.ts';

const { values: options } = parseArgs({
  options: {
    elements: { type: 'string', default: '1e6,1e7,1e8' },
    threads: { type: 'string', default: String(cpus().length) },
    seconds: { type: 'string', default: '3' },
  },
});
const addon = native();
const threads = Number(options.threads);
addon.setThreads(threads);
const settings = groupParameters([{ name: 'w', shape: [1, 1] }], adamw({ weightDecay: 0.1 })).groups[0]!;
const numbers = hyperparametersAt(10, settings, constant());
const fused = addon.findOperator('aten::_fused_adamw_', '');
const addOut = addon.findOperator('aten::add', 'out');
const normal = addon.findOperator('aten::randn', '');

interface Subject {
  readonly name: string;
  /** Bytes read and written per parameter, without what a cache reads in order to write. */
  readonly bytes: number;
  readonly run: () => void;
}

function made(elements: number, dtype: Dtype): TensorHandle {
  return addon.call(normal, [elements], dtypeCode(dtype)) as TensorHandle;
}

/** Positive, as second moments are. */
function moment(elements: number): TensorHandle {
  const tensor = made(elements, 'float32');
  addon.release(addon.call(addon.findOperator('aten::abs_', ''), tensor) as TensorHandle);
  return tensor;
}

function subjects(elements: number): { readonly subjects: Subject[]; readonly tensors: TensorHandle[] } {
  const [gradient, master, m] = [0, 1, 2].map(() => made(elements, 'float32')) as [
    TensorHandle,
    TensorHandle,
    TensorHandle,
  ];
  const v = moment(elements);
  const [narrow, out] = [made(elements, 'bfloat16'), made(elements, 'bfloat16')];
  const step = addon.fromBytes(new Uint8Array(Float32Array.of(11).buffer), [], dtypeCode('float32'));
  const scalars = [numbers.lr, numbers.beta1, numbers.beta2, numbers.weightDecay, numbers.eps, false, false] as const;
  const release = (result: unknown) => {
    if (typeof result === 'number') addon.release(result as TensorHandle);
  };
  return {
    tensors: [gradient, master, m, v, narrow, out, step],
    subjects: [
      {
        name: 'torch._fused_adamw_, fp32',
        bytes: 28,
        run: () => release(addon.call(fused, [master], [gradient], [m], [v], [], [step], ...scalars)),
      },
      {
        name: `ours, fp32 gradient, fp32 state`,
        bytes: 28,
        run: () => addon.optimizerUpdate('adamw', numbers, 1, { gradient, master, m, v, parameterOut: null }, threads),
      },
      {
        name: 'ours, bf16 gradient, fp32 state, bf16 out',
        bytes: 28,
        run: () =>
          addon.optimizerUpdate('adamw', numbers, 1, { gradient: narrow, master, m, v, parameterOut: out }, threads),
      },
      {
        name: 'triad, fp32',
        bytes: 12,
        run: () => release(addon.call(addOut, gradient, m, 0.5, v)),
      },
    ],
  };
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;
const giga = (value: number): string => (value / 1e9).toFixed(3);

/** Rounds of one run each, in turn, so that a busy neighbour slows all alike. */
function measure(all: readonly Subject[], seconds: number): number[][] {
  const times: number[][] = all.map(() => []);
  const end = performance.now() + 1000 * seconds;
  for (let round = 0; round < 7 || performance.now() < end; round++) {
    all.forEach(({ run }, i) => {
      const start = performance.now();
      run();
      if (round >= 2) times[i]!.push((performance.now() - start) / 1000);
    });
  }
  return times;
}

const load = () => loadavg()[0]!.toFixed(1);
console.log(
  `${cpus()[0]!.model}, ${cpus().length} cores; ${threads} threads; path ${addon.simdPath()}; torch ${addon.buildInfo.torchVersion}`,
);
console.log(`load average at start ${load()}\n`);
console.log(
  '| elements | kernel | rounds | G parameters/s, median | best | of torch, median of pairs | GB/s | of triad |',
);
console.log('|---|---|---|---|---|---|---|---|');
for (const elements of options.elements.split(',').map(Number)) {
  const { subjects: all, tensors } = subjects(elements);
  const times = measure(all, Number(options.seconds));
  const rates = times.map((own, i) => (elements * all[i]!.bytes) / median(own));
  all.forEach((subject, i) => {
    const own = times[i]!;
    const ratio = median(own.map((time, round) => times[0]![round]! / time));
    const cells = [
      elements.toExponential(0),
      subject.name,
      own.length,
      giga(elements / median(own)),
      giga(elements / Math.min(...own)),
      subject.bytes === 12 ? '' : ratio.toFixed(2),
      (rates[i]! / 1e9).toFixed(1),
      `${((100 * rates[i]!) / rates.at(-1)!).toFixed(0)} %`,
    ];
    console.log(`| ${cells.join(' | ')} |`);
  });
  for (const tensor of tensors) addon.release(tensor);
}
console.log(`\nload average at end ${load()}`);
