/** From the `memory:` section to the store that keeps parameters. */
import path from 'node:path';
import type { Config } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';
import { makeFolder } from '../core/files.ts';
import { hostMemory } from '../core/hostMemory.ts';

import { formatBytes } from '../core/units.ts';
import { alone, type World } from '../dist/index.ts';
import { type Copies, type Kept, type ReduceWhen, ReplicatedStore, ShardedStore } from '../dist/zero/index.ts';
import type { PlacementPolicy } from '../memory/index.ts';
import { native } from '../native/load.ts';
import type { AnyModule, Parameter, Unit, ValueSource } from '../nn/index.ts';
import { ChunkStore } from '../offload/chunked/chunkStore.ts';
import type { DiskOptions } from '../offload/chunked/tiers.ts';
import { cudaIndex } from '../offload/device.ts';
import { measureMachine } from '../offload/measure/index.ts';
import { StepNorms, type SumsAgreement } from '../offload/norms.ts';
import type { StoreObserver } from '../offload/observer.ts';
import { ResidentStore } from '../offload/resident/residentStore.ts';
import type { ParameterStore } from '../offload/store.ts';
import { dtypeBytes } from '../tensor/index.ts';
import { currentRunId } from './checkpoint/index.ts';
import type { Context } from './launch.ts';
import { placeResident } from './residentFit.ts';
import type { UpdateSchedule } from './updateSchedule.ts';

export interface StoreOptions {
  readonly values: ValueSource;
  /** First values were asked for, by a store that trains or by one that only goes forward. */
  readonly placed: (trains: boolean) => void;
  readonly observer?: StoreObserver;
  readonly forTraining: boolean;
  /** Where ranks that share no batch with this one hold other parts of the model. */
  readonly agree?: SumsAgreement;
  /** Who else has copies of each parameter; absent: nobody. */
  readonly copiesOf?: (parameter: Parameter) => Copies;
}

/** The store that `memory:` and `parallel:` ask for. */
export function createStore(
  model: AnyModule,
  units: readonly Unit[],
  context: Context,
  updates: UpdateSchedule,
  options: StoreOptions,
): ParameterStore {
  const { config, device, dtype } = context;
  const { agree, copiesOf, values } = options;
  const groupOf = (parameter: Parameter): number => updates.groupOf(parameter);
  const below = (kept: Kept): ParameterStore => createBelow(kept, context, updates, options);
  if (copiesOf === undefined) return below({ model, units, groupOf, values, takenBytes: 0 });
  const { zero } = config.parallel;
  const shared = {
    model,
    units,
    groupOf,
    values,
    below,
    dtype,
    device,
    copiesOf,
    reduce: reduceWhen(config),
    threads: context.optimizerThreads,
    ...(agree === undefined ? {} : { agree }),
  };
  return zero === 0 ? new ReplicatedStore(shared) : new ShardedStore({ ...shared, stage: zero as 1 | 2 | 3 });
}

/** With sums in one order for all stages where bits are to be the same; otherwise as suits what a stage keeps. */
export function reduceWhen({ parallel, runtime }: Config): ReduceWhen {
  if (parallel.reduce !== 'auto') return parallel.reduce;
  return parallel.zero >= 2 || runtime.deterministic ? 'each' : 'last';
}

/** A store that knows nothing of ranks: chunks on tiers when `memory:` sets a budget, everything resident otherwise. */
function createBelow(
  { model, units, groupOf, values, norms, takenBytes }: Kept,
  context: Context,
  updates: UpdateSchedule,
  { observer, forTraining, agree, placed }: StoreOptions,
): ParameterStore {
  const { config, device, dtype } = context;
  const common = {
    seed: config.seed,
    dtype,
    device,
    updateAt: (step: number) => updates.at(step),
    groupOf,
    values,
    placed,
    threads: context.optimizerThreads,
    norms: norms ?? new StepNorms(context.optimizerThreads, agree),
    ...(observer === undefined ? {} : { observer }),
  };
  const { memory } = config;
  if (!usesTiers(memory)) {
    const { moments } = updates;
    const create = (): ParameterStore =>
      new ResidentStore(model, { ...common, moments, states: config.optimizer.states, forTraining });
    return placeResident(model, context, moments.length, forTraining, create);
  }
  const { chunkSize } = memory;
  const disk = diskFor(memory, context.world);
  const budgets = budgetsFor(memory, device, context.world.localSize);
  return new ChunkStore(model, units, {
    ...common,
    budgets: { ...budgets, gpu: roomBeside(takenBytes, budgets.gpu) },
    disk,
    policy: policyFor(memory),
    states: config.optimizer.states,
    speculate: memory.speculate,
    ...(parks(memory.activations) ? { parkOn: memory.activations } : {}),
    machine: measureMachine({
      device,
      dtype,
      states: config.optimizer.states,
      threads: context.threads,
      updateThreads: context.optimizerThreads,
      disk,
    }),
    ...(chunkSize === 'auto' ? {} : { chunkElements: Math.floor(chunkSize / dtypeBytes(dtype)) }),
  });
}

function roomBeside(takenBytes: number, budgetBytes: number): number {
  if (takenBytes < budgetBytes) return budgetBytes - takenBytes;
  throw new TierraError(
    'E_OUT_OF_MEMORY',
    `parameters gathered from all ranks take ${formatBytes(takenBytes)} of the GPU, memory.gpu is ${formatBytes(budgetBytes)}`,
    {
      hint: 'Raise memory.gpu, set parallel.zero: 3, which gathers two units at a time, or make the units smaller.',
      details: { takenBytes, budgetBytes },
    },
  );
}

type MemorySettings = Config['memory'];

export function asksForTiers({ gpu, cpu, nvme, policy, activations }: MemorySettings): boolean {
  return gpu !== 'auto' || cpu !== 'auto' || nvme !== null || policy !== 'auto' || parks(activations);
}

/** Whether parameters and states get chunks on tiers, and not plain tensors on the device. */
export const usesTiers = (memory: MemorySettings): boolean => memory.policy !== 'off' && asksForTiers(memory);

const parks = (setting: MemorySettings['activations']): setting is 'host' | 'nvme' =>
  setting === 'host' || setting === 'nvme';

/** Share of what is free that `auto` takes: the rest is for the system, and for what fluctuates. */
const autoShare = 0.8;

/** Budgets are each rank's own; `auto` takes an equal part of what the ranks of a node share. */
export function budgetsFor(
  { gpu, cpu, nvme }: MemorySettings,
  device: string,
  ranksHere = 1,
): { gpu: number; host: number; nvme: number } {
  const deviceBytes = (): number =>
    device === 'cpu' ? hostMemory().availableBytes / 2 / ranksHere : native().deviceInfo(cudaIndex(device)).freeBytes;
  return {
    gpu: gpu === 'auto' ? Math.floor(deviceBytes() * autoShare) : gpu,
    host: cpu === 'auto' ? Math.floor((hostMemory().availableBytes / 2 / ranksHere) * autoShare) : cpu,
    nvme: nvme === null ? 0 : nvme.size === 'auto' ? Number.MAX_SAFE_INTEGER : nvme.size,
  };
}

/** Ranks have folders of their own below those of the configuration: swap files are one process's. */
export function diskFor({ nvme }: MemorySettings, { rank, size: ranks }: World = alone): DiskOptions | null {
  if (nvme === null) return null;
  const { size, backend, direct, verify } = nvme;
  const paths = ranks === 1 ? nvme.paths : nvme.paths.map((folder) => path.join(folder, `rank-${rank}`));
  if (ranks > 1) for (const folder of nvme.paths) makeFolder(folder);
  return { paths, sizeBytes: size === 'auto' ? null : size, backend, direct, verify, runId: currentRunId() };
}

export function policyFor({ policy, static: shares }: MemorySettings): PlacementPolicy {
  if (policy === 'static') return { kind: 'static', ...shares };
  return { kind: policy === 'lru' ? 'lru' : 'auto' };
}
