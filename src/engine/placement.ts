/** From the `memory:` section to the store that keeps parameters. */
import type { Config } from '../config/index.ts';
import { hostMemory } from '../core/hostMemory.ts';
import type { PlacementPolicy } from '../memory/index.ts';
import { native } from '../native/load.ts';
import type { AnyModule, Parameter, Unit, ValueSource } from '../nn/index.ts';
import { ChunkStore } from '../offload/chunked/chunkStore.ts';
import type { DiskOptions } from '../offload/chunked/tiers.ts';
import { cudaIndex } from '../offload/device.ts';
import { measureMachine } from '../offload/measure/index.ts';
import type { GradientNorms } from '../offload/norms.ts';
import type { StoreObserver } from '../offload/observer.ts';
import { ResidentStore } from '../offload/resident/residentStore.ts';
import type { ParameterStore } from '../offload/store.ts';
import { dtypeBytes } from '../tensor/index.ts';
import { currentRunId } from './checkpoint/index.ts';
import type { Context } from './launch.ts';
import { placeResident } from './residentFit.ts';
import type { UpdateSchedule } from './updateSchedule.ts';

export interface StoreOptions {
  readonly values?: ValueSource;
  readonly observer?: StoreObserver;
  readonly forTraining: boolean;
  /** Default: those of one process. */
  readonly norms?: GradientNorms;
}

/** The store that the `memory:` section asks for: chunks on tiers when it sets a budget, everything resident otherwise. */
export function createStore(
  model: AnyModule,
  units: readonly Unit[],
  context: Context,
  updates: UpdateSchedule,
  options: StoreOptions,
): ParameterStore {
  const { config, device, dtype } = context;
  const { values, observer, forTraining, norms } = options;
  const common = {
    seed: config.seed,
    dtype,
    device,
    updateAt: (step: number) => updates.at(step),
    groupOf: (parameter: Parameter) => updates.groupOf(parameter),
    threads: context.optimizerThreads,
    ...(values === undefined ? {} : { values }),
    ...(observer === undefined ? {} : { observer }),
    ...(norms === undefined ? {} : { norms }),
  };
  const { memory } = config;
  if (memory.policy === 'off' || !asksForTiers(memory)) {
    const { moments } = updates;
    const create = (): ParameterStore =>
      new ResidentStore(model, { ...common, moments, states: config.optimizer.states });
    return placeResident(model, context, moments.length, forTraining, create);
  }
  const { chunkSize } = memory;
  const disk = diskFor(memory);
  return new ChunkStore(model, units, {
    ...common,
    budgets: budgetsFor(memory, device),
    disk,
    policy: policyFor(memory),
    speculate: memory.speculate,
    machine: measureMachine({ device, dtype, threads: context.threads, updateThreads: context.optimizerThreads, disk }),
    ...(chunkSize === 'auto' ? {} : { chunkElements: Math.floor(chunkSize / dtypeBytes(dtype)) }),
  });
}

type MemorySettings = Config['memory'];

export function asksForTiers({ gpu, cpu, nvme, policy }: MemorySettings): boolean {
  return gpu !== 'auto' || cpu !== 'auto' || nvme !== null || policy !== 'auto';
}

/** Share of what is free that `auto` takes: the rest is for the system, and for what fluctuates. */
const autoShare = 0.8;

export function budgetsFor(
  { gpu, cpu, nvme }: MemorySettings,
  device: string,
): { gpu: number; host: number; nvme: number } {
  const deviceBytes = (): number =>
    device === 'cpu' ? hostMemory().availableBytes / 2 : native().deviceInfo(cudaIndex(device)).freeBytes;
  return {
    gpu: gpu === 'auto' ? Math.floor(deviceBytes() * autoShare) : gpu,
    host: cpu === 'auto' ? Math.floor((hostMemory().availableBytes / 2) * autoShare) : cpu,
    nvme: nvme === null ? 0 : nvme.size === 'auto' ? Number.MAX_SAFE_INTEGER : nvme.size,
  };
}

export function diskFor({ nvme }: MemorySettings): DiskOptions | null {
  if (nvme === null) return null;
  const { paths, size, backend, direct, verify } = nvme;
  return { paths, sizeBytes: size === 'auto' ? null : size, backend, direct, verify, runId: currentRunId() };
}

export function policyFor({ policy, static: shares }: MemorySettings): PlacementPolicy {
  if (policy === 'static') return { kind: 'static', ...shares };
  return { kind: policy === 'lru' ? 'lru' : 'auto' };
}
