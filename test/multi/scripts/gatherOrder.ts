/** In which order a rank under ZeRO 3 issues collectives and begins to compute units, when its shards live below the GPU. */
import type { ConfigInput } from '../../../src/config/index.ts';
import type { Communicator, Group } from '../../../src/dist/index.ts';
import { type Engine, initialize, launch } from '../../../src/engine/index.ts';
import { joinMesh } from '../../../src/engine/mesh.ts';
import { dataRanks } from '../../../src/engine/ranks.ts';
import { buildModel, type ModelSettings, type TokenBatch } from '../../../src/models/index.ts';
import type { Module } from '../../../src/nn/index.ts';
import { scope, type Tensor } from '../../../src/tensor/index.ts';
import { freeBatch, rowsOf } from '../rankSupport.ts';

export interface OrderCase {
  readonly name: string;
  readonly config: ConfigInput;
}

/** Events of the third step: `forward h.0`, `backward h.0` when a unit begins to compute, `gather 1234`, `reduce 1234` (elements sent) when issued. */
export type OrderResults = Readonly<Record<string, readonly string[]>>;

export function run(communicator: Communicator, cases: readonly OrderCase[]): OrderResults {
  return Object.fromEntries(cases.map((each) => [each.name, eventsOf(communicator, each)]));
}

/** The group itself, which also tells what is asked of it. */
function telling(group: Group, tell: (event: string) => void): Group {
  return Object.create(group, {
    size: { value: group.size },
    rank: { value: group.rank },
    ranks: { value: group.ranks },
    allGather: {
      value: (into: Tensor, from: Tensor) => {
        tell(`gather ${from.elements}`);
        return group.allGather(into, from);
      },
    },
    reduceScatter: {
      value: (into: Tensor, from: Tensor) => {
        tell(`reduce ${into.elements}`);
        return group.reduceScatter(into, from);
      },
    },
    allReduce: { value: (...args: Parameters<Group['allReduce']>) => group.allReduce(...args) },
  });
}

function eventsOf(communicator: Communicator, { config }: OrderCase): readonly string[] {
  const { nvme } = config.memory ?? {};
  // The harness starts each rank as a process by itself: swap folders are divided here.
  const own = nvme ? { nvme: { ...nvme, path: `${nvme.path}/${communicator.world.rank}` } } : {};
  const context = launch({ ...config, memory: { ...config.memory, ...own } });
  joinMesh(context, communicator);
  let events: string[] = [];
  const known = dataRanks(context);
  const { copies, ...groups } = known.groups!;
  const told = { ...copies, shards: telling(copies.shards, (event) => events.push(event)) };
  const ranks = { ...known, groups: { ...groups, copies: told } };
  const built = buildModel(context.config.model as ModelSettings);
  const model = built.model as unknown as Module<[TokenBatch], Tensor>;
  const engine: Engine<TokenBatch, Tensor> = initialize({ context, model, ranks });
  const acquire = engine.store.acquire.bind(engine.store);
  engine.store.acquire = (unit, pass) => {
    acquire(unit, pass);
    events.push(`${pass} ${unit.name}`);
  };
  engine.train();
  const { batchSize, accumulate } = context.config.train;
  const batches = Array.from({ length: accumulate }, (_, at) => rowsOf(batchSize, at, ranks.rank, ranks.size));
  engine.prepare(batches[0]!, { together: true });
  for (let step = 0; step < 3; step++) {
    events = [];
    engine.zeroGrad();
    scope(() => engine.runMicroBatches(batches));
    engine.step();
  }
  for (const batch of batches) freeBatch(batch);
  engine.dispose();
  built.model.unplace();
  return events;
}
