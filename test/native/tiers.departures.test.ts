/** Steps that do not go as planned: the plan follows, the numbers stay. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { initialize, launch } from '../../src/engine/index.ts';
import type { Plan } from '../../src/memory/plan.ts';
import { type AnyModule, Embedding, Linear, Module } from '../../src/nn/index.ts';
import { ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { settings } from './engineSupport.ts';
import { type AnyEngine, hashesOf, planOf } from './tiersSupport.ts';

/** A batch's first element says which way it goes: which layers, in which order, and how often. */
class Wayward extends Module<[Tensor], Tensor> {
  readonly embedding = new Embedding(31, 24).unit();
  readonly layers = Array.from({ length: 4 }, () => new Linear(24, 24).unit());
  readonly head = new Linear(24, 31).unit();

  forward(ids: Tensor): Tensor {
    const way = ways[scope(() => ops.select(ops.view(ids, [-1]), 0, 0).item()) % ways.length]!;
    let x = this.embedding.call(ids);
    for (const layer of way) x = ops.add(x, ops.tanh(this.layers[layer]!.call(x)));
    return this.head.call(x);
  }
}

const ways: readonly (readonly number[])[] = [[0, 1, 2, 3], [0, 2, 1, 3], [0, 1, 3], [0, 1, 1, 2, 3], []];

interface Batch {
  readonly way: number;
  readonly rows?: number;
}

const idsOf = ({ way, rows = 2 }: Batch): Tensor =>
  ops.fromArray(
    Array.from({ length: rows * 8 }, (_, index) => (index === 0 ? way : (index * 7 + way) % 31)),
    [rows, 8],
    { dtype: 'int64' },
  );

const criterion = (output: Tensor): Tensor => ops.mean(ops.mul(output, output));

const folder = mkdtempSync(path.join(tmpdir(), 'tierra-departures-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const placements = [
  { name: 'everything on the GPU', memory: { gpu: '64MiB', cpu: '64MiB' }, moves: false, disk: false },
  {
    name: 'tight GPU',
    memory: { gpu: '136KiB', cpu: '64MiB', speculate: 'always' as const },
    moves: true,
    disk: false,
  },
  {
    name: 'on disk',
    memory: { gpu: '136KiB', cpu: '128KiB', nvme: { path: folder, size: '64MiB' } },
    moves: true,
    disk: true,
  },
];

interface Run {
  readonly seen: readonly unknown[];
  readonly hashes: Record<string, string>;
  readonly changes: readonly string[];
  readonly plan: Plan | null;
}

/** Steps of micro-batches each, under a memory section; without one everything is resident. */
function run(steps: readonly (readonly Batch[])[], memory: object, precision: 'fp32' | 'bf16'): Run {
  const changes: string[] = [];
  const config = {
    precision,
    optimizer: { learningRate: 1e-2 },
    train: { accumulate: steps[0]!.length, clipNorm: 0.05, steps: 20 },
    ...(Object.keys(memory).length === 0 ? {} : { memory: { ...memory, chunkSize: 4096 } }),
  };
  const context = launch(settings(config));
  const observer = { replanned: (change: string) => changes.push(change) };
  const engine = initialize({ context, model: new Wayward() as AnyModule as never, criterion, observer }) as AnyEngine;
  try {
    engine.train();
    const seen = steps.map((batches) => {
      engine.accumulate = batches.length;
      engine.zeroGrad();
      const losses = batches.map((batch) =>
        scope(() => {
          const loss = engine.criterion(engine.forward(idsOf(batch)), null as never);
          engine.backward(loss);
          return loss.item();
        }),
      );
      const { gradientNorm, clipFactor } = engine.step()!;
      return { losses, gradientNorm, clipFactor };
    });
    const plan = Object.keys(memory).length === 0 ? null : planOf(engine);
    return { seen, hashes: hashesOf(engine), changes, plan };
  } finally {
    engine.dispose();
  }
}

const cases: readonly {
  readonly name: string;
  readonly steps: readonly (readonly Batch[])[];
  readonly changes: number;
  /** What the largest of its micro-batches needs, and some. */
  readonly gpu?: string;
}[] = [
  {
    name: 'another order of units',
    steps: [[{ way: 0 }], [{ way: 1 }], [{ way: 1 }], [{ way: 0 }]],
    changes: 2,
  },
  { name: 'units left out', steps: [[{ way: 0 }], [{ way: 2 }], [{ way: 4 }], [{ way: 0 }]], changes: 3 },
  { name: 'units met for the first time', steps: [[{ way: 4 }], [{ way: 2 }], [{ way: 0 }]], changes: 2 },
  { name: 'a unit used twice', steps: [[{ way: 0 }], [{ way: 3 }], [{ way: 0 }]], changes: 2 },
  {
    name: 'in the second of three micro-batches',
    steps: [
      [{ way: 0 }, { way: 0 }, { way: 0 }],
      [{ way: 0 }, { way: 3 }, { way: 1 }],
      [{ way: 0 }, { way: 3 }, { way: 1 }],
      [{ way: 2 }, { way: 2 }, { way: 0 }],
    ],
    changes: 4,
  },
  {
    name: 'more and fewer micro-batches',
    steps: [[{ way: 0 }], [{ way: 0 }, { way: 0 }], [{ way: 0 }, { way: 0 }, { way: 0 }], [{ way: 0 }]],
    changes: 3,
  },
  {
    name: 'larger micro-batches',
    steps: [
      [{ way: 0 }, { way: 0 }],
      [{ way: 0, rows: 8 }, { way: 0 }],
      [{ way: 0 }, { way: 0, rows: 12 }],
      [{ way: 0 }, { way: 0 }],
    ],
    changes: 2,
    gpu: '288KiB',
  },
];

const resident = new Map<string, Run>();
/** What a case gives with everything resident; made once for all placements. */
function residentRun({ name, steps }: (typeof cases)[number], precision: 'fp32' | 'bf16'): Run {
  const key = `${name}, ${precision}`;
  if (!resident.has(key)) resident.set(key, run(steps, {}, precision));
  return resident.get(key)!;
}

describe.each(placements)('$name', ({ memory, moves, disk }) => {
  it.each(cases)('$name', (one) => {
    const { steps, changes, gpu } = one;
    for (const precision of ['fp32', 'bf16'] as const) {
      const expected = residentRun(one, precision);
      const planned = run(steps, gpu === undefined || !moves ? memory : { ...memory, gpu }, precision);
      expect(planned.seen).toEqual(expected.seen);
      expect(planned.hashes).toEqual(expected.hashes);
      expect(planned.changes.length).toBe(changes);
      const { tickets, arenaBytes } = planned.plan!;
      expect([tickets.length > 0, arenaBytes.nvme > 0]).toEqual([moves, disk]);
    }
  });
});
