import fc from 'fast-check';
import {
  describeMachine,
  type ElementBytes,
  estimateTrace,
  layOut,
  type ParameterSpec,
  type PlanInput,
  stateBytesPerElement,
} from '../../../src/memory/index.ts';

/** Parameter lists in order of first use: mixed sizes, frozen ones, groups, ties to earlier units. */
export const parameterLists: fc.Arbitrary<ParameterSpec[]> = fc
  .array(
    fc.array(
      fc.record({
        elements: fc.oneof(
          { weight: 5, arbitrary: fc.integer({ min: 1, max: 60_000 }) },
          fc.integer({ min: 1, max: 900_000 }),
        ),
        frozen: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
        group: fc.integer({ min: 0, max: 2 }),
        tie: fc.option(fc.nat(), { freq: 12 }),
      }),
      { minLength: 1, maxLength: 6 },
    ),
    { minLength: 1, maxLength: 10 },
  )
  .map((units) => {
    const list: ParameterSpec[] = [];
    units.forEach((parameters, unit) => {
      for (const { elements, frozen, group, tie } of parameters) {
        const id = list.length;
        const owners = list.filter((other) => other.tiedTo === undefined);
        const owner = tie === null || tie === undefined ? undefined : owners[tie % Math.max(1, owners.length)];
        const shape = owner === undefined ? { elements } : { elements: owner.elements, tiedTo: owner.id };
        list.push({ id, name: `u${unit}.p${id}`, unit, trainable: owner?.trainable ?? !frozen, group, ...shape });
      }
    });
    return list;
  });

/** Stacks of equal blocks, as real models are: an embedding, blocks, a head that may be tied; adapters leave most of it frozen. */
export const stacks: fc.Arbitrary<ParameterSpec[]> = fc
  .record({
    blocks: fc.integer({ min: 2, max: 16 }),
    sizes: fc.array(fc.integer({ min: 500, max: 60_000 }), { minLength: 1, maxLength: 4 }),
    embedding: fc.integer({ min: 1000, max: 200_000 }),
    tied: fc.boolean(),
    adapters: fc.integer({ min: 0, max: 5 }).map((n) => n === 0),
  })
  .map(({ blocks, sizes, embedding, tied, adapters }) => {
    const list: ParameterSpec[] = [];
    const add = (unit: number, elements: number, extra: Partial<ParameterSpec> = {}): void => {
      const id = list.length;
      list.push({ id, name: `u${unit}.p${id}`, unit, elements, trainable: !adapters, group: 0, ...extra });
    };
    add(0, embedding);
    for (let block = 1; block <= blocks; block++) {
      for (const size of sizes) add(block, size);
      if (adapters) add(block, 512, { trainable: true });
    }
    add(blocks + 1, embedding, tied ? { tiedTo: 0 } : {});
    return list;
  });

const rate = (low: number, high: number) => fc.double({ min: low, max: high, noNaN: true });

/** Anything a planner may be asked: random model, machine and step, with budgets around what is needed. */
export const problems: fc.Arbitrary<PlanInput> = fc
  .record({
    parameters: fc.oneof(parameterLists, { weight: 3, arbitrary: stacks }),
    types: fc.constantFrom<ElementBytes>(
      { computeBytes: 2, stateBytes: 4 },
      { computeBytes: 4, stateBytes: 4 },
      { computeBytes: 2, stateBytes: 4, states: 'compressed' },
      { computeBytes: 4, stateBytes: 4, states: 'compressed' },
      { computeBytes: 8, stateBytes: 8 },
    ),
    training: fc.integer({ min: 0, max: 4 }).map((n) => n > 0),
    accumulation: fc.constantFrom('horizontal' as const, 'vertical' as const),
    microBatches: fc.constantFrom(1, 1, 2, 3),
    clipping: fc.integer({ min: 0, max: 3 }).map((n) => n > 0),
    statesOnGpu: fc.integer({ min: 0, max: 3 }).map((n) => n > 0),
    activation: fc.integer({ min: 0, max: 300_000 }),
    /** In largest units, in whole models, in whole models. */
    gpu: fc.oneof({ weight: 4, arbitrary: rate(1, 4) }, rate(0.5, 40)),
    host: fc.oneof(rate(0.3, 1.2), rate(0.8, 3)),
    nvme: fc.oneof(fc.constant(0), rate(1, 4)),
    speeds: fc.record({ pcie: rate(1, 60), dram: rate(5, 200), diskRead: rate(0.3, 10), diskWrite: rate(0.3, 10) }),
    tokens: fc.integer({ min: 1, max: 4000 }),
    chunkElements: fc.option(fc.integer({ min: 2048, max: 400_000 }), { nil: undefined }),
  })
  .map(({ parameters, types, training, accumulation, microBatches, clipping, activation, speeds, tokens, ...rest }) => {
    const layout = layOut(parameters, rest.chunkElements === undefined ? {} : { chunkElements: rest.chunkElements });
    const machine = { ...describeMachine({ ...speeds, tflops: 0.5 }), latencySeconds: 1e-6 };
    const trace = estimateTrace({
      layout,
      machine,
      mode: training ? 'training' : 'forward',
      accumulation,
      microBatches,
      tokens,
      nonModelBytes: () => activation,
    });
    const elements = layout.chunks.reduce((sum, chunk) => sum + chunk.elements, 0);
    const whole = elements * (types.computeBytes + (training ? stateBytesPerElement(types) : 0));
    const unit = Math.max(
      ...layout.chunksOfUnit.map((chunks) => chunks.reduce((sum, chunk) => sum + layout.chunks[chunk]!.elements, 0)),
    );
    const unitBytes = unit * (types.computeBytes + (microBatches > 1 ? types.stateBytes : 0));
    const budgets = {
      gpu: activation + Math.floor(rest.gpu * unitBytes),
      host: Math.floor(rest.host * whole),
      nvme: Math.floor(rest.nvme * whole),
    };
    return { layout, trace, types, machine, budgets, clipping, statesOnGpu: rest.statesOnGpu };
  });
