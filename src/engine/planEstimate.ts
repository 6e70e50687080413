/** The planner's input from a configuration alone: shapes instead of a trace. Needs no addon for a described machine. */

import { statfsSync } from 'node:fs';
import { totalmem } from 'node:os';
import path from 'node:path';
import type { Config } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';
import { alone } from '../dist/index.ts';
import {
  describeMachine,
  type Machine,
  type MachineFlags,
  type PerTier,
  type PlanInput,
  parkingBytes,
  parkingNeed,
  withCompressedStates,
} from '../memory/index.ts';
import { type BuiltModel, buildModel, type ModelSettings } from '../models/index.ts';
import { nativeIsBuilt } from '../native/load.ts';
import { type AnyModule, collectUnits, type Unit } from '../nn/index.ts';
import { reserveBytes } from '../offload/chunked/planning.ts';
import { type ModelMap, mapModel, trainingTrace } from '../offload/chunked/stepTrace.ts';
import type { Visit } from '../offload/chunked/traceHost.ts';
import { reckonedContextBytes } from '../offload/device.ts';
import { elementTypes, updatesOnDevice } from '../offload/elementTypes.ts';
import { measureMachine } from '../offload/measure/index.ts';
import { stateDtype } from '../offload/resident/entries.ts';
import { type Dtype, dtypeBytes } from '../tensor/index.ts';
import { setActivations } from './activations.ts';
import { checkFits, tokenizerFor, withVocabulary } from './corpus.ts';
import { launch } from './launch.ts';
import { orderAsked } from './microBatchOrder.ts';
import { asksForTiers, budgetsFor, diskFor, policyFor } from './placement.ts';
import { cpuBlock, cudaBlock } from './planBlocks.ts';
import type { RankPart } from './planRank.ts';
import { type ComputeRates, estimateVisits } from './planVisits.ts';
import { checkCompressedStates } from './precision/compressedAllowed.ts';
import { updateScheduleFor } from './updateSchedule.ts';

/** A machine with the rates that only an estimate needs. */
export interface PlanMachine extends Machine, ComputeRates {
  /** How its numbers are known. */
  readonly source: 'described' | 'measured' | 'assumed';
  /** `cpu` or `cuda:N`. */
  readonly device: string;
  readonly diskMeasured: boolean;
}

export interface PlanSubject {
  readonly config: Config;
  readonly machine: PlanMachine;
  readonly dtype: Dtype;
  readonly built: BuiltModel;
  readonly map: ModelMap;
  readonly input: PlanInput;
  readonly tokensPerStep: number;
  /** True when a run would use tiers: it has budgets, or was described some. */
  readonly tiered: boolean;
}

export interface PlanRequest {
  /** Describes another machine; null plans for this one. */
  readonly described: MachineFlags | null;
  /** Measure this machine although its rates are known. */
  readonly measure: boolean;
}

/** Bytes of device memory traffic per FLOP: cards of the last ten years lie near it. */
const bytesPerFlop = 0.007;
/** Launch and bookkeeping of one operator on a GPU. */
const launchSeconds = 8e-6;

const dtypes = { fp32: 'float32', bf16: 'bfloat16', fp16: 'float16', fp64: 'float64' } as const;

/** Which machine is planned for, and the element type it computes in. */
export function machineFor(
  config: Config,
  { described, measure }: PlanRequest,
): { machine: PlanMachine; dtype: Dtype } {
  const { states } = config.optimizer;
  if (described !== null || !nativeIsBuilt()) {
    const device = config.device === 'cpu' ? 'cpu' : 'cuda:0';
    const { precision } = config;
    const dtype = precision === 'auto' ? (device === 'cpu' ? 'float32' : 'bfloat16') : dtypes[precision];
    const whole = describeMachine(described ?? { name: 'this machine, not measured' });
    const machine = withEstimates(states === 'compressed' ? withCompressedStates(whole) : whole);
    const source = described === null ? 'assumed' : 'described';
    return { machine: { ...machine, source, device, diskMeasured: false }, dtype };
  }
  const { device, dtype, threads, optimizerThreads } = launch(config, [], alone);
  const disk = diskFor(config.memory);
  const measured = measureMachine({
    device,
    dtype,
    states,
    threads,
    updateThreads: optimizerThreads,
    disk,
    again: measure,
  });
  return { machine: { ...measured, source: 'measured', device }, dtype };
}

function withEstimates(machine: Machine): Machine & ComputeRates {
  return { ...machine, elementwiseBytes: machine.computeFlops * bytesPerFlop, operatorSeconds: launchSeconds };
}

/** Everything there is to plan. Throws `E_CONFIG` for a configuration without a model. */
export async function estimatePlan(config: Config, request: PlanRequest): Promise<PlanSubject> {
  const built = await plannedModel(config);
  const { machine, dtype } = machineFor(config, request);
  checkPlanned(config, machine, dtype);
  return subjectOf(config, built, machine, dtype);
}

/** Throws what a run of this configuration would throw before it places anything. */
export function checkPlanned(config: Config, { device }: Pick<PlanMachine, 'device'>, dtype: Dtype): void {
  checkCompressedStates({ config, device, dtype }, { rule: config.optimizer.name });
}

/** The configuration's model, without memory. `build` may decide how its layers are made. */
export async function plannedModel(config: Config, build = buildModel): Promise<BuiltModel> {
  if (config.model === null) {
    throw new TierraError('E_CONFIG', 'model: nothing to plan for', {
      hint: 'Give model.preset, model.path or model.architecture.',
    });
  }
  const tokenizer = await tokenizerFor(config.data.tokenizer);
  const built = build(withVocabulary(config.model as ModelSettings, tokenizer));
  checkFits(built, tokenizer, config.data.sequenceLength);
  return built;
}

/** The model's units, with what the configuration says of their activations. */
export function plannedUnits({ model }: BuiltModel, { memory: { activations } }: Config): Unit[] {
  const units = collectUnits(model as AnyModule);
  setActivations(units, activations);
  return units;
}

/**
 * The planner's input for a model that is built, or for the part of it that one rank has. Also tries other settings of the
 * same model: nothing is measured here.
 */
export function subjectOf(
  config: Config,
  built: BuiltModel,
  machine: PlanMachine,
  dtype: Dtype,
  part: RankPart | null = null,
): PlanSubject {
  const { model } = built;
  const units = part?.units ?? plannedUnits(built, config);
  const setting = config.memory.activations;
  const { chunkSize } = config.memory;
  const updates = updateScheduleFor(model as AnyModule, config, config.train.steps ?? 1000, dtype);
  const order = (part?.kept ?? units).map((unit) => ({
    unit,
    pass: 'forward' as const,
    seconds: 0,
    beforeBytes: 0,
    peakBytes: 0,
    afterBytes: 0,
  }));
  const map = mapModel(order, {
    groupOf: part?.groupOf ?? ((parameter) => updates.groupOf(parameter)),
    ...(chunkSize === 'auto' ? {} : { chunkElements: Math.floor(chunkSize / dtypeBytes(dtype)) }),
  });
  const { train, data, memory } = config;
  const state = stateDtype(dtype);
  const sequences = part?.sequences ?? train.batchSize;
  // Ids and labels are whole on ranks that share the sequences of a batch.
  const tokens = sequences * (part?.tensor.rows ?? 1) * data.sequenceLength;
  const visits = estimateVisits(
    model,
    units,
    {
      sequences,
      length: part?.length ?? data.sequenceLength,
      share: part?.share ?? null,
      expertRanks: part?.expertRanks ?? 1,
      tensor: part?.tensor.inside ?? 1,
      blocks: part?.tensor.blocks ?? null,
      elementBytes: dtypeBytes(dtype),
      wideBytes: dtypeBytes(state),
      fused: machine.device !== 'cpu' && dtype !== 'float64',
      block: machine.device === 'cpu' ? cpuBlock : cudaBlock,
    },
    machine,
    part,
  );
  const tiered = part?.moves ?? (machine.source === 'described' || asksForTiers(memory));
  // As the engine decides it: where nothing moves, nothing is saved.
  const asked = orderAsked(memory);
  const wanted = asked === 'vertical' || (asked === 'auto' && tiered);
  const vertical = wanted && train.accumulate > 1 && (part?.order ?? null) === null;
  const course = {
    microBatches: train.accumulate,
    accumulation: vertical ? ('vertical' as const) : ('horizontal' as const),
    ...(part === null || part.order === null ? {} : { order: part.order }),
  };
  const floorBytes = 2 * tokens * 8 * (vertical ? train.accumulate : 1);
  const { trace } = trainingTrace(map, [visits], course);
  const parked = parkedOf(setting, visits, { microBatches: train.accumulate, vertical });
  const input: PlanInput = {
    layout: map.layout,
    trace,
    types: elementTypes(dtype, config.optimizer.states),
    machine,
    budgets: budgetsOf(config, machine),
    reservedBytes: {
      ...parked,
      gpu:
        floorBytes + reserveBytes(trace) + reckonedContextBytes(machine.device) + parked.gpu + (part?.takenBytes ?? 0),
    },
    clipping: true,
    statesOnGpu: updatesOnDevice(machine.device, config.optimizer.states),
    speculate: memory.speculate,
    policy: memory.policy === 'off' ? { kind: 'auto' } : policyFor(memory),
  };
  return { config, machine, dtype, built, map, input, tokensPerStep: tokens * train.accumulate, tiered };
}

/** Room for the inputs that are parked: each in forward order, back in reverse. */
function parkedOf(
  setting: Config['memory']['activations'],
  visits: readonly Visit[],
  shape: { readonly microBatches: number; readonly vertical: boolean },
): PerTier {
  if (setting !== 'host' && setting !== 'nvme') return parkingBytes(null);
  const inputs = visits.map(({ unparkedBytes = 0 }) => unparkedBytes).filter((bytes) => bytes > 0);
  const back = inputs.map((bytes, index) => ({ kind: 'unpark' as const, index, bytes }));
  const out = [...back].reverse().map((event) => ({ ...event, kind: 'park' as const }));
  return parkingBytes(parkingNeed(setting, [...out, ...back], shape));
}

function budgetsOf({ memory }: Config, { source, device, capacityBytes }: PlanMachine): PlanInput['budgets'] {
  const { gpu, cpu, nvme } = memory;
  const disk = nvme === null ? 0 : nvme.size === 'auto' ? null : nvme.size;
  if (source === 'measured') {
    const budgets = budgetsFor(memory, device);
    return memory.policy === 'off'
      ? { ...budgets, host: 0, nvme: 0 }
      : { ...budgets, nvme: disk ?? freeBytes(nvme?.paths ?? []) };
  }
  return {
    gpu: gpu === 'auto' ? capacityBytes.gpu : gpu,
    host: cpu === 'auto' ? (source === 'assumed' ? Math.floor(totalmem() * 0.4) : capacityBytes.host) : cpu,
    nvme: disk ?? capacityBytes.nvme,
  };
}

/** Room on the folders' disks, of the nearest folder that exists. */
function freeBytes(folders: readonly string[]): number {
  return folders.reduce((sum, folder) => {
    for (let at = path.resolve(folder); ; at = path.dirname(at)) {
      try {
        const { bavail, bsize } = statfsSync(at);
        return sum + bavail * bsize;
      } catch {
        if (at === path.dirname(at)) return sum;
      }
    }
  }, 0);
}
