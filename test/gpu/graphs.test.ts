/** Micro-batches replayed as graphs of launches: every bit as without, and plain steps wherever a graph cannot stand for them. */
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/index.ts';
import { type Engine, initialize, launch } from '../../src/engine/index.ts';
import { Gpt2, Llama, type TokenBatch } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import { type AnyModule, Embedding, Linear, Module } from '../../src/nn/index.ts';
import { crossEntropy } from '../../src/nn/losses.ts';
import { ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { tinyGpt2, tinyLlama } from '../cases/models.ts';
import { settings, tokens, where } from '../native/engineSupport.ts';
import { type AnyEngine, drop, hashesOf } from '../native/tiersSupport.ts';
import { device } from './kernelsSupport.ts';

if (typeof device === 'string') where.device = device;

type Mode = 'auto' | 'always' | 'never';
type Start = (graphs: Mode) => AnyEngine;

/** A model in place of the tiny GPT-2, and settings beside those of all tests. */
function starting(changes: ConfigInput = {}, model: () => AnyModule = () => new Gpt2(tinyGpt2())): Start {
  return (graphs) => {
    const runtime = { threads: 1, optimizerThreads: 1, graphs };
    const schedule = { name: 'cosine', warmupSteps: 2 } as const;
    const context = launch(settings({ schedule, train: { steps: 40 }, ...changes, runtime } as ConfigInput));
    return initialize({ context, model: model() as Module<[TokenBatch], Tensor> }) as AnyEngine;
  };
}

/** One optimizer step on micro-batches of `[rows, length]` tokens, and what is known of it. */
function step(engine: AnyEngine, rows = 2, length = 16): unknown {
  engine.train();
  engine.zeroGrad();
  const { accumulate, steps } = engine;
  const batches = Array.from({ length: accumulate }, (_, micro) =>
    tokens(rows, length, steps * accumulate + micro + 1),
  );
  try {
    const losses = engine.runMicroBatches(batches).map((loss) => loss.item());
    return { losses, ...engine.step()! };
  } finally {
    batches.forEach(drop);
  }
}

function lossInEval(engine: AnyEngine, length = 16): number {
  const batch = tokens(3, length, 99);
  const loss = scope(() => engine.eval().forward(batch).item());
  drop(batch);
  engine.train();
  return loss;
}

const many = (engine: AnyEngine, count: number): unknown[] => Array.from({ length: count }, () => step(engine));

interface Course {
  readonly seen: unknown;
  readonly hashes: unknown;
  readonly replayed: boolean;
  readonly notes: readonly string[];
}

/** `course` with graphs and without: the results are compared, and what became of the graphs is returned. */
function same(start: Start, course: (engine: AnyEngine) => unknown, mode: Mode = 'always'): Course {
  const [withGraphs, without] = ([mode, 'never'] as const).map((graphs): Course => {
    const engine = start(graphs);
    try {
      const seen = course(engine);
      return { seen, hashes: hashesOf(engine), replayed: engine.isReplaying, notes: engine.notes };
    } finally {
      engine.dispose();
    }
  }) as [Course, Course];
  expect(without.replayed).toBe(false);
  expect(withGraphs.seen).toEqual(without.seen);
  expect(withGraphs.hashes).toEqual(without.hashes);
  expect(native().liveGraphs()).toBe(0);
  return withGraphs;
}

const onGpu = describe.skipIf(typeof device !== 'string');

onGpu('bits with graphs', () => {
  const clipped = { clipNorm: 0.5 };
  const cases: readonly (readonly [string, ConfigInput])[] = (['fp32', 'bf16', 'fp16'] as const).flatMap((precision) =>
    [1, 3].map((accumulate) => [
      `${precision}, ${accumulate} micro-batches`,
      {
        precision,
        ...(precision === 'fp16' ? { lossScale: { initial: 1024 } } : {}),
        train: { steps: 40, accumulate, ...clipped },
      } as ConfigInput,
    ]),
  );

  it.each(cases)('%s', (_, config) => {
    const { replayed, notes } = same(starting(config), (engine) => many(engine, 12));
    expect(replayed).toBe(true);
    expect(notes).toHaveLength(1);
    expect(notes[0]).toMatch(/replayed as a graph of \d+ launches/);
  });

  it('a loss scale that grows', () => {
    const config: ConfigInput = { precision: 'fp16', lossScale: { initial: 1024, growthInterval: 14 } };
    const { replayed } = same(starting(config), (engine) => {
      const seen = many(engine, 14);
      const before = engine.isReplaying;
      seen.push(...many(engine, 12));
      return { seen, before: before || engine.context.config.runtime.graphs === 'never' };
    });
    expect(replayed).toBe(true);
  });

  it('a loss scale that is too large at first', () => {
    const config: ConfigInput = { precision: 'fp16', lossScale: { initial: 2 ** 28 } };
    const { seen } = same(starting(config), (engine) => many(engine, 30));
    const overflows = (seen as { overflow: boolean }[]).filter(({ overflow }) => overflow).length;
    expect(overflows).toBeGreaterThan(3);
    expect(overflows).toBeLessThan(25);
  });

  it('recomputed activations', () => {
    const config: ConfigInput = { precision: 'bf16', memory: { activations: 'recompute' } };
    expect(same(starting(config), (engine) => many(engine, 8)).replayed).toBe(true);
  });

  it('of a Llama whose tables of positions grow in between', () => {
    const start = starting({ precision: 'bf16' }, () => new Llama(tinyLlama({ vocab_size: 61 })));
    const course = (engine: AnyEngine): unknown => [
      ...many(engine, 6),
      lossInEval(engine, 48),
      ...many(engine, 3),
      lossInEval(engine, 64),
      ...many(engine, 3),
    ];
    expect(same(start, course).replayed).toBe(true);
  });

  it('by itself where the GPU waits for launches', () => {
    expect(same(starting({ precision: 'bf16' }), (engine) => many(engine, 8), 'auto').replayed).toBe(true);
  });
});

onGpu('between replays', () => {
  it('evaluations, and steps that are dropped', () => {
    const { replayed } = same(starting({ train: { accumulate: 2, steps: 40 } }), (engine) =>
      Array.from({ length: 10 }, (_, index) => {
        if (index === 7) {
          engine.zeroGrad();
          const dropped = tokens(2, 16, 51);
          engine.runMicroBatches([dropped]);
          engine.cancelStep();
          drop(dropped);
        }
        return [step(engine), lossInEval(engine)];
      }),
    );
    expect(replayed).toBe(true);
  });

  it('other shapes, and a graph of another shape once there are many', () => {
    const { replayed } = same(starting({ precision: 'bf16' }), (engine) => [
      ...many(engine, 6),
      step(engine, 1, 8),
      step(engine, 3, 20),
      ...many(engine, 2),
      ...Array.from({ length: 13 }, () => step(engine, 4, 12)),
      ...many(engine, 2),
    ]);
    expect(replayed).toBe(true);
  });

  it('one tensor at two places, and two', () => {
    same(starting(), (engine) => {
      const seen = many(engine, 6);
      const ids = tokens(2, 16, 7).ids;
      for (let index = 0; index < 2; index++) {
        engine.zeroGrad();
        seen.push(engine.runMicroBatches([{ ids, labels: ids }]).map((loss) => loss.item()));
        engine.step();
      }
      return [...seen, ...many(engine, 2)];
    });
  });

  it('another number of micro-batches, and weights that are written', () => {
    const { replayed } = same(starting({ precision: 'bf16' }), (engine) => {
      many(engine, 1);
      const saved = engine.store.stateEntries().map((entry) => {
        const bytes = new Uint8Array(entry.bytes);
        entry.read(bytes, 0);
        return bytes;
      });
      const seen = many(engine, 6);
      for (const [index, entry] of engine.store.stateEntries().entries()) entry.write(saved[index]!, 0);
      seen.push(...many(engine, 2));
      engine.accumulate = 2;
      seen.push(...many(engine, 8));
      return seen;
    });
    expect(replayed).toBe(true);
  });

  it('memory stays as it is, and goes with the engine', () => {
    const course = (): { readonly left: number; readonly flat: readonly unknown[]; readonly took: boolean } => {
      const at = (): number => native().memoryStats(where.device).allocatedBytes;
      const before = at();
      const engine = starting({ precision: 'bf16' })('always');
      many(engine, 3);
      const plain = at();
      many(engine, 3);
      const took = at() > plain;
      const flat: unknown[] = [];
      for (let round = 0; round < 20; round++) {
        step(engine);
        const { allocatedBytes, reservedBytes, systemAllocations } = native().memoryStats(where.device);
        flat.push([allocatedBytes, reservedBytes, systemAllocations, native().liveTensors()]);
      }
      engine.dispose();
      return { left: at() - before, flat, took };
    };
    course(); // workspaces of libtorch's stay for good
    const { left, flat, took } = course();
    expect(took).toBe(true);
    expect(new Set(flat.slice(1).map((each) => JSON.stringify(each))).size).toBe(1);
    expect(left).toBe(0);
    expect(native().liveGraphs()).toBe(0);
  });
});

/** Its second unit looks at a number on the host. */
class Looking extends Module<[TokenBatch], Tensor> {
  readonly embedding = new Embedding(61, 32).unit();
  readonly middle: Middle = new Middle().unit();
  readonly head = new Linear(32, 61).unit();

  forward({ ids, labels }: TokenBatch): Tensor {
    const logits = this.head.call(this.middle.call(this.embedding.call(ids)));
    return crossEntropy(ops.reshape(logits, [-1, 61]), ops.reshape(labels!, [-1]));
  }
}

class Middle extends Module<[Tensor], Tensor> {
  readonly linear = new Linear(32, 32);

  forward(x: Tensor): Tensor {
    const y = this.linear.call(x);
    return ops.mul(y, ops.sum(y).item() > 0 ? 1 : 0.5);
  }
}

onGpu('plain steps', () => {
  it('where random numbers are drawn', () => {
    const start = starting({}, () => new Gpt2(tinyGpt2({ resid_pdrop: 0.1 })));
    const { replayed, notes } = same(start, (engine) => many(engine, 6));
    expect(replayed).toBe(false);
    expect(notes).toEqual([expect.stringMatching(/has no effect, .* draws random numbers/)]);
  });

  it('where a model reads back, and the process trains on as if nothing had been tried', () => {
    for (const accumulate of [1, 3]) {
      const start = starting({ train: { accumulate, steps: 40 } }, () => new Looking());
      const { replayed, notes } = same(start, (engine) => [...many(engine, 8), lossInEval(engine)]);
      expect(replayed).toBe(false);
      expect(notes).toEqual([expect.stringMatching(/^not replayed as a graph/)]);
    }
    // Another model draws random numbers, and a third is recorded.
    same(
      starting({}, () => new Gpt2(tinyGpt2({ resid_pdrop: 0.1 }))),
      (engine) => many(engine, 3),
    );
    expect(same(starting(), (engine) => many(engine, 8)).replayed).toBe(true);
  });

  it('where a model of one’s own does not say that it is repeatable, unless asked for', () => {
    const { replayed, notes } = same(
      starting({}, () => new Looking()),
      (engine) => many(engine, 6),
      'auto',
    );
    expect(replayed).toBe(false);
    expect(notes).toEqual([]);
  });

  it('with a loop of one’s own around forward and backward', () => {
    const { replayed } = same(starting(), (engine: Engine<TokenBatch, Tensor>) =>
      Array.from({ length: 6 }, (_, index) => {
        engine.zeroGrad();
        const batch = tokens(2, 16, index + 1);
        const loss = engine.forward(batch);
        engine.backward(loss);
        const value = loss.item();
        drop(batch);
        return [value, engine.step()];
      }),
    );
    expect(replayed).toBe(false);
  });
});
