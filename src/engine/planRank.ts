/**
 * What one of several ranks keeps and computes, worked out from shapes: the units of its pipeline stages, its shards of their
 * parameters, its part of every batch. Of ranks that differ only in dp, sp, ep or tp one stands for all: no other holds
 * more.
 */
import type { Config } from '../config/index.ts';
import { expertParameters } from '../dist/experts/index.ts';
import type { MeshLayout } from '../dist/index.ts';
import {
  layOutPipeline,
  mostMessages,
  ownership,
  type PipelineLayout,
  StageModel,
  visitsOf,
} from '../dist/pipeline/index.ts';
import {
  type DataVolume,
  type Flat,
  layFlats,
  reductionBytes,
  replicatedVolume,
  roomFor,
  ShardModel,
  shardElements,
  shardedVolume,
} from '../dist/zero/index.ts';
import type { BuiltModel } from '../models/index.ts';
import type { AnyModule, Parameter, Pass, Unit } from '../nn/index.ts';
import type { SequenceModel } from '../nn/sequence.ts';
import type { VisitOrder } from '../offload/store.ts';
import { orderAsked } from './microBatchOrder.ts';
import { reduceWhen } from './placement.ts';
import type { SharedSequence } from './planAttention.ts';
import { type TensorDivision, tensorDivision } from './planTensor.ts';
import type { UpdateSchedule } from './updateSchedule.ts';

export interface RankPart {
  /** Units of the model that this rank computes, in its order. */
  readonly units: readonly Unit[];
  /** Parallel to them: the units that its store keeps, whose parameters are shards where ranks share them. */
  readonly kept: readonly Unit[];
  readonly groupOf: (parameter: Parameter) => number;
  /** The group of a parameter of the model, whoever holds it. */
  readonly groupIn: (parameter: Parameter) => number;
  /** Sequences of a micro-batch here, and tokens of each. */
  readonly sequences: number;
  readonly length: number;
  readonly share: SharedSequence | null;
  /** Ranks that the experts are spread over. */
  readonly expertRanks: number;
  readonly tensor: TensorDivision;
  /** The pipeline's order of visits; null without one. */
  readonly order: VisitOrder | null;
  /** Whether its store moves chunks. */
  readonly moves: boolean;
  /** Of the compute device, always: room for gathered parameters. */
  readonly takenBytes: number;
  /** Of the compute device while a unit is at work: shards on their way, gradients being summed. */
  besideBytes(unit: number, pass: 'forward' | 'backward'): number;
  /** Whether a parameter is one of an expert that only some ranks have. */
  readonly isExpert: (parameter: Parameter) => boolean;
  /** What all ranks with tokens of their own have copies of, and experts, which fewer have. */
  readonly volume: DataVolume;
  readonly expertVolume: DataVolume;
}

export interface PartOptions {
  readonly config: Config;
  readonly layout: MeshLayout;
  readonly built: BuiltModel;
  /** All units of the model. */
  readonly units: readonly Unit[];
  readonly pipeline: PipelineLayout | null;
  readonly updates: UpdateSchedule;
  readonly elementBytes: number;
  readonly wideBytes: number;
  /** Whether the store below moves chunks between tiers. */
  readonly moves: boolean;
}

export function planPipeline(
  { built, units }: Pick<PartOptions, 'built' | 'units'>,
  { parallel, train }: Config,
  ranks: number,
): PipelineLayout | null {
  if (ranks === 1) return null;
  const { schedule, chunks, cuts } = parallel.pipeline;
  const { stages } = built.model as unknown as SequenceModel<never>;
  const given = chunks === 'auto' ? {} : { chunks };
  return layOutPipeline(units, stages, { schedule, cuts, ranks, microBatches: train.accumulate, ...given });
}

/** The part of the ranks at place `at` of the pipeline. */
export function partOf(options: PartOptions, at: number): RankPart {
  const { config, layout, units, pipeline, built, updates, elementBytes, wideBytes } = options;
  const groupIn = (parameter: Parameter): number => updates.groupOf(parameter);
  const { train, data } = config;
  const { dp, sp, ep } = layout.degrees;
  const tensor = tensorDivision(config.parallel);
  const own =
    pipeline === null
      ? units
      : new StageModel(
          built.model as AnyModule,
          units,
          pipeline.stagesOf[at]!.map((stage) => pipeline.stages[stage]!),
        ).units;
  const sequences = train.batchSize / (dp * ep * tensor.rows);
  const length = data.sequenceLength / sp;
  const share = sp === 1 ? null : { mode: config.parallel.sequence, parts: sp };
  const edgeBytes = (sequences * length * widthOf(built) * elementBytes) / tensor.width;
  const order =
    pipeline === null
      ? null
      : { visits: visitsOf(pipeline, at), besideBytes: () => mostMessages(pipeline, at) * edgeBytes };
  const batch = { sequences, length, share, expertRanks: ep };
  const common = { ...batch, units: own, tensor, order, groupIn, moves: options.moves };
  const experts = ep === 1 ? new Set<Parameter>() : expertParameters(built.model as AnyModule);
  const isExpert = (parameter: Parameter): boolean => experts.has(parameter);
  const divided = dividedPart(options, own, order, isExpert);
  const sums = options.moves || config.parallel.zero > 0 ? 3 * tiedElements(options, at).held * wideBytes : 0;
  return { ...common, ...divided, isExpert, takenBytes: divided.takenBytes + sums };
}

/** Elements of parameters that other ranks of the pipeline hold too, and of their gradients that arrive at place `at`. */
export function tiedElements(
  { built, units, pipeline }: Pick<PartOptions, 'built' | 'units' | 'pipeline'>,
  at: number,
): { readonly held: number; readonly arriving: number } {
  let [held, arriving] = [0, 0];
  if (pipeline === null) return { held, arriving };
  for (const { parameter, ranks } of ownership(built.model as AnyModule, units, pipeline).shared) {
    if (!ranks.includes(at)) continue;
    held += parameter.elements;
    // The first rank hears of all others, and each of them of the sum.
    arriving += parameter.elements * (at === ranks[0] ? ranks.length - 1 : 1);
  }
  return { held, arriving };
}

type DividedPart = Pick<RankPart, 'kept' | 'groupOf' | 'takenBytes' | 'besideBytes' | 'volume' | 'expertVolume'>;

/** Ranks with copies of a parameter that all have, and of an expert; `replicate` of each are whole. */
export function copyRanks(layout: MeshLayout, replicate: number): { readonly all: number; readonly experts: number } {
  const { dp, sp, ep } = layout.degrees;
  return { all: (dp * sp * ep) / replicate, experts: (dp * sp) / replicate };
}

const nothing: DataVolume = { gatheredElements: 0, reducedElements: 0, normElements: 0 };

function dividedPart(
  options: PartOptions,
  own: readonly Unit[],
  order: VisitOrder | null,
  isExpert: RankPart['isExpert'],
): DividedPart {
  const { config, layout, updates, elementBytes, wideBytes, moves } = options;
  const { zero, replicate } = config.parallel;
  const microBatches = config.train.accumulate;
  const groupOf = (parameter: Parameter): number => updates.groupOf(parameter);
  const ranks = copyRanks(layout, replicate);
  if (ranks.all * replicate === 1) {
    return { kept: own, groupOf, takenBytes: 0, besideBytes: () => 0, volume: nothing, expertVolume: nothing };
  }
  const reduce = reduceWhen(config);
  const local = reduce === 'last' && microBatches > 1 ? sumsBytes(own, wideBytes) : 0;
  if (zero === 0) {
    const trained = (unit: number): number =>
      sumsBytes(
        own.filter(({ index }) => index === unit),
        wideBytes,
      );
    return {
      kept: own,
      groupOf,
      takenBytes: local,
      // The buffer that is summed, and messages on their way.
      besideBytes: (unit, pass) => (pass === 'forward' ? 0 : trained(unit) * (1 + 3 / ranks.all)),
      volume: replicatedVolume(own, ranks.all, reduce, microBatches, (parameter) => !isExpert(parameter)),
      expertVolume: replicatedVolume(own, ranks.experts, reduce, microBatches, isExpert),
    };
  }
  const flats = layFlats(own, groupOf, (parameter) => (isExpert(parameter) ? 1 : 0));
  const shards = new ShardModel(own, flats, [
    { rank: 0, size: ranks.all },
    { rank: 0, size: ranks.experts },
  ]);
  const stage = zero as 1 | 2 | 3;
  const ranksOf = (flat: Flat): number => shards.placeOf(flat).size;
  const flatsOf = (unit: number): readonly Flat[] => shards.flatsOf(unit);
  const shardBytes = (unit: number): number =>
    flatsOf(unit).reduce((sum, flat) => sum + shardElements(flat, ranksOf(flat)) * elementBytes, 0);
  /** A unit and those that may be on their way while it is at work. */
  const besides = (unit: number): number[] => {
    const at = own.findIndex(({ index }) => index === unit);
    return own.slice(Math.max(0, at - 1), at + 2).map(({ index }) => index);
  };
  for (const [index, unit] of own.entries()) shards.units[index]!.activations = unit.activations;
  const visits = order?.visits ?? plainVisits(own, microBatches, config, moves);
  const course = { units: own, flats, ranksOf, stage, reduce, microBatches, visits };
  return {
    kept: shards.units,
    groupOf: (shard) => shards.flatOf(shard).group,
    takenBytes: roomFor({ ...course, elementBytes }).bytes + local,
    besideBytes: (unit, pass) =>
      (moves ? Math.max(...besides(unit).map(shardBytes)) : 0) +
      (pass === 'forward' ? 0 : reductionBytes(flatsOf(unit), ranksOf, wideBytes)),
    volume: shardedVolume(course, ({ spread }) => spread === 0),
    expertVolume: shardedVolume(course, ({ spread }) => spread === 1),
  };
}

/** All units forward and back, micro-batch after micro-batch, or all micro-batches through each unit. */
function plainVisits(
  units: readonly Unit[],
  microBatches: number,
  { memory }: Config,
  moves: boolean,
): { readonly unit: number; readonly pass: Pass }[] {
  const there = units.map(({ index }) => ({ unit: index, pass: 'forward' as const }));
  const back = units.map(({ index }) => ({ unit: index, pass: 'backward' as const })).reverse();
  const order = orderAsked(memory);
  const vertical = order === 'vertical' || (order === 'auto' && moves);
  return Array.from({ length: vertical ? 1 : microBatches }, () => [...there, ...back]).flat();
}

const sumsBytes = (units: readonly Unit[], wideBytes: number): number =>
  wideBytes *
  units
    .flatMap(({ parameters }) => parameters)
    .reduce((sum, { trainable, elements }) => sum + (trainable ? elements : 0), 0);

/** Width of what passes between units. */
export function widthOf({ model }: BuiltModel): number {
  const { config } = model as unknown as { config: { hidden_size?: number; n_embd?: number } };
  return config.hidden_size ?? config.n_embd!;
}
