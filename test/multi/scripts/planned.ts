/** What real ranks keep and receive in one step, for the test that holds `tierra plan` against it. */
import type { ConfigInput } from '../../../src/config/index.ts';
import type { CollectiveCounter, Communicator, Group } from '../../../src/dist/index.ts';
import { type Engine, initialize, launch } from '../../../src/engine/index.ts';
import { joinMesh } from '../../../src/engine/mesh.ts';
import { dataRanks } from '../../../src/engine/ranks.ts';
import { underTensorParallel } from '../../../src/engine/tensorParallel.ts';
import { buildModel, type ModelSettings, type TokenBatch } from '../../../src/models/index.ts';
import type { Module } from '../../../src/nn/index.ts';
import type { PlanSummary, RestingBytes } from '../../../src/offload/observer.ts';
import { scope, type Tensor } from '../../../src/tensor/index.ts';
import { freeBatch, rowsOf } from '../rankSupport.ts';

export interface PlannedCase {
  readonly name: string;
  readonly config: ConfigInput;
}

export interface PlannedResult {
  /** Bytes received in a step by axis and collective. */
  readonly received: Readonly<Record<string, number>>;
  /** Homes in the plan that the store made from what it watched; null where everything is resident. */
  readonly homes: { readonly parameters: RestingBytes; readonly states: RestingBytes } | null;
}

export function run(communicator: Communicator, cases: readonly PlannedCase[]): Record<string, PlannedResult> {
  return Object.fromEntries(cases.map((each) => [each.name, measure(communicator, each)]));
}

function measure(communicator: Communicator, { config }: PlannedCase): PlannedResult {
  const { nvme } = config.memory ?? {};
  // The harness starts each rank as a process by itself: swap folders are divided here.
  const own =
    nvme === null || nvme === undefined ? {} : { nvme: { ...nvme, path: `${nvme.path}/${communicator.world.rank}` } };
  const context = launch({ ...config, memory: { ...config.memory, ...own } });
  const mesh = joinMesh(context, communicator);
  const ranks = dataRanks(context);
  const built = underTensorParallel(context, () => buildModel(context.config.model as ModelSettings));
  const model = built.model as unknown as Module<[TokenBatch], Tensor>;
  const plans: PlanSummary[] = [];
  const engine: Engine<TokenBatch, Tensor> = initialize({
    ...{ context, model, ranks },
    observer: { planned: (made) => plans.push(made) },
  });
  engine.train();
  const { batchSize, accumulate } = context.config.train;
  const batches = Array.from({ length: accumulate }, (_, at) => rowsOf(batchSize, at, ranks.rank, ranks.size));
  engine.prepare(batches[0]!, { together: true });
  const groups: Record<string, Group> = Object.fromEntries(
    (['dp', 'pp', 'tp'] as const).map((axis) => [axis, mesh.group(axis)]),
  );
  const step = (): void => {
    engine.zeroGrad();
    scope(() => engine.runMicroBatches(batches));
    engine.step();
  };
  // The first one learns the order; every later one is like the second.
  step();
  for (const group of Object.values(groups)) group.resetCounters();
  step();
  const received: Record<string, number> = {};
  for (const [axis, group] of Object.entries(groups)) {
    for (const [name, counter] of Object.entries<CollectiveCounter>(group.counters())) {
      if (counter.bytesReceived > 0) received[`${axis} ${name}`] = counter.bytesReceived;
    }
  }
  const made = plans.at(-1);
  const homes = made === undefined ? null : { parameters: made.parameters, states: made.states };
  for (const batch of batches) freeBatch(batch);
  engine.dispose();
  built.model.unplace();
  return { received, homes };
}
