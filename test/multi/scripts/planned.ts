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
  /** Bytes received in a step by group and collective. */
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
  // Of rows, columns and edges: what they do counts as one.
  const edges: Group[] = [];
  const split = communicator.split;
  communicator.split = (name, parts) => {
    const group = split.call(communicator, name, parts);
    if (name.startsWith('tp ')) edges.push(group!);
    return group;
  };
  const built = underTensorParallel(context, () => buildModel(context.config.model as ModelSettings));
  communicator.split = split;
  const model = built.model as unknown as Module<[TokenBatch], Tensor>;
  const plans: PlanSummary[] = [];
  const engine: Engine<TokenBatch, Tensor> = initialize({
    context,
    model,
    ranks,
    observer: { planned: (made) => plans.push(made) },
  });
  engine.train();
  const { batchSize, accumulate } = context.config.train;
  const batches = Array.from({ length: accumulate }, (_, at) =>
    rowsOf(batchSize, at, ranks.rows.rank, ranks.rows.size),
  );
  engine.prepare(batches[0]!, { together: true });
  // Those of several axes only where a run made them: groups are made by all ranks in one order.
  const groups: Record<string, Group> = {};
  for (const along of [['pp'], ['tp'], ['sp'], ['ep'], ['dp', 'sp', 'ep'], ['dp', 'sp'], ['pp', 'ep', 'tp']] as const) {
    const name = along.filter((axis) => mesh.layout.degrees[axis] > 1).join('+');
    if (name !== '') groups[name] = mesh.group(...along);
  }
  const step = (): void => {
    engine.zeroGrad();
    scope(() => engine.runMicroBatches(batches));
    engine.step();
  };
  // The first one learns the order; every later one is like the second.
  step();
  for (const group of [...Object.values(groups), ...edges]) group.resetCounters();
  // Before each step stores agree on how they go through it, in a few numbers: that is no part of a plan.
  const agreed: Record<string, number> = {};
  const { store } = engine;
  const prepare = store.prepare.bind(store);
  store.prepare = (...given) => {
    const before = bytesIn(groups);
    prepare(...given);
    for (const [name, bytes] of Object.entries(bytesIn(groups))) {
      agreed[name] = (agreed[name] ?? 0) + bytes - (before[name] ?? 0);
    }
  };
  step();
  const received: Record<string, number> = {};
  for (const [name, bytes] of Object.entries(bytesIn(groups))) {
    const own = bytes - (agreed[name] ?? 0);
    if (own > 0) received[name] = own;
  }
  const inBlocks = edges.flatMap((group) => Object.values<CollectiveCounter>(group.counters()));
  if (edges.length > 0) received['tp blocks'] = inBlocks.reduce((sum, { bytesReceived }) => sum + bytesReceived, 0);
  const made = plans.at(-1);
  const homes = made === undefined ? null : { parameters: made.parameters, states: made.states };
  for (const batch of batches) freeBatch(batch);
  engine.dispose();
  built.model.unplace();
  return { received, homes };
}

/** Bytes received so far, by group and collective. */
function bytesIn(groups: Readonly<Record<string, Group>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(groups).flatMap(([axis, group]) =>
      Object.entries<CollectiveCounter>(group.counters()).map(([name, { bytesReceived }]) => [
        `${axis} ${name}`,
        bytesReceived,
      ]),
    ),
  );
}
