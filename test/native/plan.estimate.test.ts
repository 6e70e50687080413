/** What is estimated from shapes against what a traced micro-batch shows: same layout, same order, same bytes. */
import { afterEach, expect, test } from 'vitest';
import { resolveConfig } from '../../src/config/index.ts';
import { setActivations } from '../../src/engine/activations.ts';
import { launch } from '../../src/engine/index.ts';
import { cpuBlock, cudaBlock } from '../../src/engine/planBlocks.ts';
import { machineFor, subjectOf } from '../../src/engine/planEstimate.ts';
import { estimateVisits } from '../../src/engine/planVisits.ts';
import { buildModel } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import { type AnyModule, collectUnits, randomKeys, Tape } from '../../src/nn/index.ts';
import { mapModel } from '../../src/offload/chunked/stepTrace.ts';
import { TraceHost } from '../../src/offload/chunked/traceHost.ts';
import { ops, scope } from '../../src/tensor/index.ts';

const rates = { computeFlops: 1e11, elementwiseBytes: 1e10, operatorSeconds: 1e-6 };

const gpt2 = {
  architecture: 'gpt2',
  config: { n_embd: 256, n_layer: 3, n_head: 4, vocab_size: 1000, n_positions: 256 },
};
const llama = {
  architecture: 'llama',
  config: {
    hidden_size: 256,
    intermediate_size: 704,
    num_hidden_layers: 3,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    vocab_size: 1000,
  },
};
const mixtral = {
  architecture: 'mixtral',
  config: { ...llama.config, intermediate_size: 352, num_local_experts: 4, num_experts_per_tok: 2 },
};
const qwen3 = { architecture: 'qwen3', config: { ...llama.config, head_dim: 64 } };

afterEach(() => expect([native().liveArenas(), native().liveTensors()]).toEqual([0, 0]));

const shapes = [
  ['gpt2', gpt2, 'fp32'],
  ['gpt2', gpt2, 'bf16'],
  ['llama', llama, 'fp32'],
  ['llama', llama, 'bf16'],
  ['qwen3', qwen3, 'fp32'],
  ['mixtral', mixtral, 'fp32'],
] as const;

const cases = shapes.flatMap((shape) =>
  (['keep', 'recompute'] as const).flatMap((activations) =>
    // bf16 is slow on a CPU, and its bytes are all that is asked for.
    (
      (shape[2] === 'bf16'
        ? [
            [2, 128],
            [1, 64],
          ]
        : [
            [4, 256],
            [1, 128],
          ]) as [number, number][]
    ).map((batch) => [...shape, activations, ...batch] as const),
  ),
);

test.each(cases)('%s %o %s %s %i x %i', (_family, settings, precision, activations, sequences, length) => {
  const context = launch({ device: 'cpu', precision, runtime: { threads: 2 } });
  const { model } = buildModel(settings);
  const units = collectUnits(model as AnyModule);
  setActivations(units, activations);
  const elementBytes = precision === 'bf16' ? 2 : 4;
  const batch = { sequences, length, tensor: 1, elementBytes, wideBytes: 4, fused: false, block: cpuBlock };
  const estimated = estimateVisits(model, units, batch, rates);
  const ids = ops.fromArray(new BigInt64Array(sequences * length), [sequences, length]).keep();
  const floor = native().memoryStats('cpu').allocatedBytes;
  const host = new TraceHost(units, context.dtype, 'cpu');
  scope(() => {
    randomKeys.begin({ seed: 1, step: 0, microBatch: 0 });
    const tape = new Tape(host);
    tape.backward(tape.record(() => model.call({ ids, labels: ids })));
  });
  host.dispose(units);
  const course = (visits: typeof estimated) => visits.map(({ unit, pass }) => `${pass} ${unit.name}`);
  expect(course(estimated)).toEqual(course(host.visits));
  const peak = (visits: typeof estimated, base: number) => Math.max(...visits.map((visit) => visit.peakBytes - base));
  const ratio = peak(estimated, 0) / peak(host.visits, floor);
  expect(ratio).toBeGreaterThan(0.9);
  expect(ratio).toBeLessThan(1.05);
  // What lies between units decides vertical accumulation: it has to fit, too.
  for (const [index, visit] of host.visits.entries()) {
    const between = estimated[index]!.beforeBytes;
    expect(Math.abs(between - (visit.beforeBytes - floor))).toBeLessThan(0.05 * peak(host.visits, floor));
  }
  for (const parameter of model.parameters()) parameter.unplace();
  model.unplace();
  ids.dispose();
});

test.each([gpt2, llama])('the head of $architecture is planned as in a model that keeps everything', (settings) => {
  const { model } = buildModel(settings);
  const units = collectUnits(model as AnyModule);
  const shape = { sequences: 2, length: 64, tensor: 1, elementBytes: 2, wideBytes: 4, fused: true, block: cudaBlock };
  const planned = (activations: 'keep' | 'recompute') => {
    setActivations(units, activations);
    const visits = estimateVisits(model, units, shape, rates);
    return visits.map(({ unit, pass, seconds, beforeBytes, peakBytes }) => {
      return { visit: `${pass} ${unit.name}`, seconds, ownBytes: peakBytes - beforeBytes };
    });
  };
  const kept = planned('keep');
  const again = planned('recompute');
  const visitsOf = (all: typeof kept, name: string) => all.filter(({ visit }) => visit.endsWith(name));
  expect(visitsOf(again, 'head')).toEqual(visitsOf(kept, 'head'));
  expect(visitsOf(again, 'blocks.2')).not.toEqual(visitsOf(kept, 'blocks.2'));
});

test('the layout that is planned for is the layout that a run takes', () => {
  const config = resolveConfig({ device: 'cpu', precision: 'fp32', model: llama as never, train: { steps: 1 } });
  const built = buildModel(llama);
  const { machine, dtype } = machineFor(config, { described: { pcie: 10 }, measure: false });
  const subject = subjectOf(config, built, machine, dtype);
  const again = buildModel(llama).model;
  const units = collectUnits(again as AnyModule);
  const visits = units.map((unit) => ({
    unit,
    pass: 'forward' as const,
    seconds: 0,
    beforeBytes: 0,
    peakBytes: 0,
    afterBytes: 0,
  }));
  const group = new Map(
    subject.map.layout.chunks.flatMap(({ parameters }) => parameters.map((p) => [p.name, p.group])),
  );
  const layout = mapModel(visits, { groupOf: ({ name }) => group.get(name) ?? 0 }).layout;
  expect(layout.chunkElements).toBe(subject.map.layout.chunkElements);
  expect(layout.chunks.map(({ elements }) => elements)).toEqual(
    subject.map.layout.chunks.map(({ elements }) => elements),
  );
});
