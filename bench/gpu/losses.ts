/**
 * Losses beside PyTorch's, for the same weights, tokens and optimizer: fp32, and bf16 with fp32 master weights.
 *
 *   python3 bench/gpu/losses.py FOLDER && node --import tsx bench/gpu/losses.ts FOLDER [cuda|cpu] [fp32,bf16]
 *
 * Every placement below is run as well; in deterministic mode its losses must be those of the resident run, bit for bit. Prints a Markdown table.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { ConfigInput } from '../../src/config/index.ts';
import { initialize, launch } from '../../src/index.ts';
import { buildModel, valuesFor } from '../../src/models/index.ts';
import { ops } from '../../src/tensor/index.ts';

interface Reference {
  readonly torch: string;
  readonly batch: number;
  readonly length: number;
  readonly steps: number;
  readonly losses: Readonly<Record<string, readonly number[]>>;
}

const [folder = '.', device = 'cuda', precisions = 'fp32,bf16'] = process.argv.slice(2);
const reference: Reference = JSON.parse(readFileSync(path.join(folder, 'torch.json'), 'utf8'));
const { batch, length, steps } = reference;
const bytes = readFileSync(path.join(folder, 'tokens.bin'));
const tokens = new BigInt64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));

type Precision = 'fp32' | 'bf16';

/** Fixed shares, so that the same chunks travel however large the card. */
const placements: Readonly<Record<string, ConfigInput['memory']>> = {
  resident: {},
  'all in host memory': { policy: 'static', gpu: '4GiB', cpu: '1GiB' },
  'half in host memory, half on disk': {
    policy: 'static',
    gpu: '4GiB',
    cpu: '1GiB',
    static: { hostParameters: 0.5, hostStates: 0.5 },
    nvme: { path: path.join(folder, 'swap'), size: '1GiB' },
  },
};

function train(precision: Precision, memory: ConfigInput['memory']): number[] {
  const context = launch({
    device: device as 'cuda' | 'cpu',
    precision,
    runtime: { deterministic: true },
    memory,
    train: { steps, batchSize: batch, clipNorm: 1 },
    optimizer: { name: 'adamw', learningRate: 1e-3, betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0.1 },
    schedule: { name: 'constant', warmupSteps: 0 },
  } as ConfigInput);
  const built = buildModel({ path: path.join(folder, 'model'), weights: true });
  const weights = valuesFor(built)!;
  const engine = initialize({ context, model: built.model, totalSteps: steps, values: weights.values });
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const rows = Array.from({ length: batch }, (_, row) => (step * batch + row) * (length + 1));
    const cut = (from: number) => {
      const values = new BigInt64Array(batch * length);
      for (const [row, at] of rows.entries()) values.set(tokens.subarray(at + from, at + from + length), row * length);
      return ops.fromArray(values, [batch, length], { device: context.device });
    };
    const [ids, labels] = [cut(0), cut(1)];
    engine.zeroGrad();
    const [loss] = engine.runMicroBatches([{ ids, labels }]);
    losses.push(loss!.item());
    engine.step();
    ids.dispose();
    labels.dispose();
  }
  engine.dispose();
  weights.close();
  return losses;
}

const furthest = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));
const ends = (losses: readonly number[]) => `${losses[0]!.toFixed(6)} to ${losses.at(-1)!.toFixed(6)}`;
const fromFp32 = (losses: readonly number[]) => furthest(losses, reference.losses.fp32!).toExponential(1);
const rows: string[] = [];
for (const precision of precisions.split(',') as Precision[]) {
  const peers = Object.entries(reference.losses).filter(([name]) => name.startsWith(precision));
  let resident: number[] | null = null;
  for (const [name, memory] of Object.entries(placements)) {
    const losses = train(precision, memory);
    console.error(`${precision}, ${name}: done`);
    resident ??= losses;
    const same = losses.every((loss, i) => Object.is(loss, resident![i]));
    const apart = peers.map(([, peer]) => furthest(losses, peer).toExponential(1)).join(', ');
    rows.push(`| ${precision} | ${name} | ${ends(losses)} | ${apart} | ${fromFp32(losses)} | ${same} |`);
  }
  for (const [name, losses] of peers) {
    if (peers.length < 2) continue;
    const apart = peers
      .map(([, other]) => (other === losses ? '-' : furthest(losses, other).toExponential(1)))
      .join(', ');
    rows.push(`| ${name} | PyTorch | ${ends(losses)} | ${apart} | ${fromFp32(losses)} | |`);
  }
}
console.log(`| precision | placement | loss, step 1 to ${steps} | largest difference from PyTorch ${reference.torch}, run by run | from its fp32 | bits of resident |
|---|---|---|---|---|---|
${rows.join('\n')}`);
