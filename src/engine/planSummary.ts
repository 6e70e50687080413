/** A plan as the answer to a question: does it fit, where does everything live, how fast is it, what holds it up. */
import { TierraError } from '../core/errors.ts';
import {
  type Cause,
  forecastPlan,
  type Lane,
  type Limiter,
  type PerTier,
  type Plan,
  parameterBytes as parameterBytesOf,
  stateBytes as stateBytesOf,
  type Tier,
  tiers,
} from '../memory/index.ts';
import type { Dtype } from '../tensor/index.ts';
import type { PlanSubject } from './planEstimate.ts';

/** Bytes of one tier. */
export interface TierSummary {
  readonly budgetBytes: number;
  /** What lives there between steps. */
  readonly restBytes: number;
  readonly peakBytes: number;
  readonly parameterBytes: number;
  readonly stateBytes: number;
  readonly gradientBytes: number;
  readonly activationBytes: number;
  /** Room that chunks pass through, and second places of updates. */
  readonly bufferBytes: number;
}

/** The answer of `tierra plan`; `--json` prints it. */
export interface PlanSummary {
  readonly version: 1;
  readonly machine: {
    readonly name: string;
    readonly source: 'described' | 'measured' | 'assumed';
    readonly device: string;
    readonly computeFlops: number;
    readonly linkBytes: number;
    readonly hostDramBytes: number;
    readonly hostUpdateParameters: number;
    /** From and to disk alone, and while the other goes on. */
    readonly readBytes: number;
    readonly writeBytes: number;
    readonly readBytesTogether: number;
    readonly writeBytesTogether: number;
    readonly diskMeasured: boolean;
  };
  readonly model: {
    readonly family: string;
    readonly parameters: number;
    readonly vocabulary: number;
    readonly layers: number;
    readonly chunks: number;
  };
  readonly step: {
    readonly sequences: number;
    readonly sequenceLength: number;
    readonly microBatches: number;
    readonly tokens: number;
    readonly dtype: Dtype;
    readonly activations: string;
    readonly order: 'horizontal' | 'vertical';
  };
  readonly tiers: PerTier<TierSummary>;
  readonly stepSeconds: number;
  readonly computeSeconds: number;
  readonly tokensPerSecond: number;
  readonly limiter: Limiter;
  /** What no schedule could beat, and the resource that says so: the step's efficiency is measured against it. */
  readonly bound: { readonly by: Limiter; readonly seconds: number };
  /** Seconds that computing waits, by what it waits for. */
  readonly stallSeconds: Readonly<Partial<Record<Cause, number>>>;
  readonly movedBytes: Readonly<Record<Lane, number>>;
  readonly busySeconds: Readonly<Record<Lane, number>>;
  readonly diskWriteBytesPerStep: number;
  readonly notes: readonly string[];
}

export function summarizePlan(subject: PlanSubject, plan: Plan): PlanSummary {
  const { machine, built, map, config, input, tokensPerStep } = subject;
  const forecast = forecastPlan(plan, map.layout, machine, input.trace, tokensPerStep);
  const { stepSeconds, computeSeconds, tokensPerSecond, limiter, bound } = forecast;
  const { stallSeconds, movedBytes, busySeconds } = plan.forecast;
  return {
    version: 1,
    machine: {
      name: machine.name,
      source: machine.source,
      device: machine.device,
      computeFlops: machine.computeFlops,
      linkBytes: machine.toDevice.alone,
      hostDramBytes: machine.hostDramBytes,
      hostUpdateParameters: machine.hostUpdateParameters,
      readBytes: machine.fromDisk.alone,
      writeBytes: machine.toDisk.alone,
      readBytesTogether: machine.fromDisk.together,
      writeBytesTogether: machine.toDisk.together,
      diskMeasured: machine.diskMeasured,
    },
    model: {
      family: built.family,
      parameters: built.model.parameterCount,
      vocabulary: built.model.vocabularySize,
      layers: built.model.blocks.length,
      chunks: map.layout.chunks.length,
    },
    step: {
      sequences: config.train.batchSize,
      sequenceLength: config.data.sequenceLength,
      microBatches: config.train.accumulate,
      tokens: tokensPerStep,
      dtype: subject.dtype,
      activations: config.memory.activations,
      order: input.trace.accumulation,
    },
    tiers: {
      gpu: tierSummary(plan, subject, 'gpu'),
      host: tierSummary(plan, subject, 'host'),
      nvme: tierSummary(plan, subject, 'nvme'),
    },
    stepSeconds,
    computeSeconds,
    tokensPerSecond,
    limiter,
    bound,
    stallSeconds,
    movedBytes,
    busySeconds,
    diskWriteBytesPerStep: forecast.diskWriteBytes,
    notes: notesOn(subject, plan),
  };
}

function tierSummary(plan: Plan, { map }: PlanSubject, tier: Tier): TierSummary {
  const { types, slots } = plan;
  let parameterBytes = 0;
  let stateBytes = 0;
  let gradientBytes = 0;
  for (const { chunk, parameterHome, stateHome, parameter, gradients } of plan.chunks) {
    const shape = map.layout.chunks[chunk]!;
    if (parameterHome === tier) parameterBytes += parameterBytesOf(shape, types);
    if (stateHome === tier) stateBytes += stateBytesOf(shape, types);
    for (const { slot } of gradients) {
      const place = slots[slot]!;
      if (place.tier === tier && slot !== parameter.slot && slot !== parameter.alternate) gradientBytes += place.bytes;
    }
  }
  const arena = plan.arenaBytes[tier];
  const activationBytes = plan.otherBytes[tier];
  gradientBytes = Math.min(gradientBytes, arena - parameterBytes - stateBytes);
  return {
    budgetBytes: plan.budgets[tier],
    restBytes: parameterBytes + stateBytes,
    peakBytes: arena + activationBytes,
    parameterBytes,
    stateBytes,
    gradientBytes,
    activationBytes,
    bufferBytes: arena - parameterBytes - stateBytes - gradientBytes,
  };
}

function notesOn({ machine, built, config, tiered }: PlanSubject, plan: Plan): string[] {
  const notes: string[] = [];
  const own = built.hfConfig.vocab_size;
  const { model } = config;
  if (
    config.data.tokenizer === 'byte' &&
    model !== null &&
    'preset' in model &&
    !/bytes/.test(model.preset) &&
    own === 257
  ) {
    notes.push(
      `The byte tokenizer gives ${model.preset} a vocabulary of 257; with its own tokenizer, set data.tokenizer or model.overrides.vocab_size.`,
    );
  }
  const elsewhere = plan.chunks.some(
    ({ parameterHome, stateHome }) => parameterHome !== 'gpu' || (stateHome !== 'gpu' && stateHome !== 'none'),
  );
  if (!tiered && elsewhere) {
    notes.push(
      'memory: sets no budget, so a run would keep everything on the device. To train as planned here, set memory.gpu.',
    );
  }
  if (machine.source === 'assumed') {
    notes.push(
      'The native addon is not built, so the rates are assumptions. Run `npx tierra setup`, or describe a machine with flags.',
    );
  }
  if (machine.source === 'measured' && config.memory.nvme !== null && !machine.diskMeasured) {
    notes.push('The disk could not be measured (no room, or no right to write there): its rates are assumptions.');
  }
  return notes;
}

/** Tiers that have a budget or hold anything. */
export function usedTiers({ tiers: all }: PlanSummary): Tier[] {
  return tiers.filter((tier) => all[tier].budgetBytes > 0 || all[tier].peakBytes > 0);
}

/** `E_PLAN` of a model that is too large, with other ways out beside larger budgets. */
export function withOtherWays(error: TierraError, ways: readonly string[]): TierraError {
  if (ways.length === 0) return error;
  const first = error.hint === undefined ? '' : `${error.hint} `;
  return new TierraError('E_PLAN', error.message, {
    hint: `${first}Or: ${ways.join('; or ')}.`,
    details: { ...error.details, ways },
    cause: error,
  });
}
