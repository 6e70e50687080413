/** What one rank receives from others in a step, in bytes, by what it is and in which group it comes. */
import { mixtureVolume, sharedAttentionVolume, tensorUnitVolume, type UnitKind } from '../dist/costs/index.ts';
import { type Axis, axes, type CollectiveName, type MeshLayout } from '../dist/index.ts';
import { type PipelineLayout, rankOfStage } from '../dist/pipeline/index.ts';
import { copiesOfHeads } from '../dist/sequence/index.ts';
import { allReduceReceives } from '../dist/tensor/counts.ts';
import { receivedIn } from '../dist/tensor/index.ts';
import { type DataVolume, type Flat, layFlats, shardElements } from '../dist/zero/index.ts';
import type { BuiltModel } from '../models/index.ts';
import type { Parameter, Unit } from '../nn/index.ts';
import { assignedRows } from './planMixture.ts';
import { copyRanks, type RankPart, tiedElements, widthOf } from './planRank.ts';
import { attentionSizes, mixtureOf } from './planSharing.ts';

export interface Traffic {
  /** Axes of the group whose degree is above 1, outermost first. */
  readonly along: readonly Axis[];
  readonly what:
    | 'activations'
    | 'blocks'
    | 'stage edges'
    | 'tied gradients'
    | 'keys and values'
    | 'gradients of keys and values'
    | 'heads'
    | 'loss'
    | 'rows'
    | 'row counts'
    | 'loads'
    | 'parameters'
    | 'gradients'
    | 'expert parameters'
    | 'expert gradients'
    | 'norms'
    | 'shard norms'
    | 'expert norms';
  /** As the group's counters name it; `blocks`: several kinds, in the groups of rows, columns and edges. */
  readonly collective: CollectiveName | 'blocks';
  /** Received by one rank in a step. */
  readonly bytes: number;
  readonly messages: number;
}

/** One block, where there is any. */
export interface LayerTraffic {
  /** For every micro-batch, in the tensor group, in the sequence group, and to and from experts. */
  readonly tensorBytes: number;
  readonly sequenceBytes: number;
  readonly expertBytes: number;
  /** Each time its parameters are gathered, and each time its gradients are summed, over data ranks. */
  readonly gatherBytes: number;
  readonly reduceBytes: number;
}

export interface TrafficInput {
  readonly built: BuiltModel;
  readonly layout: MeshLayout;
  readonly part: RankPart;
  /** All units of the model. */
  readonly units: readonly Unit[];
  readonly pipeline: PipelineLayout | null;
  /** Place in the pipeline. */
  readonly at: number;
  readonly microBatches: number;
  readonly elementBytes: number;
  readonly wideBytes: number;
  readonly zero: number;
  readonly replicate: number;
}

/** Those with tokens of their own, and those with copies of one expert. */
const [dataAxes, copyAxes] = [['dp', 'sp', 'ep'] as const, ['dp', 'sp'] as const];

/** In the order of the mesh: the name of a group. */
const alongOf = ({ degrees }: MeshLayout, ...wanted: readonly Axis[]): Axis[] =>
  axes.filter((axis) => wanted.includes(axis) && degrees[axis] > 1);

export function trafficOf(input: TrafficInput): Traffic[] {
  const { part, layout, wideBytes } = input;
  const found: Traffic[] = [];
  const { tp, pp, sp, ep } = layout.degrees;
  if (tp > 1) found.push(tensorTraffic(input));
  if (sp > 1) found.push(...sequenceTraffic(input));
  if (ep > 1) found.push(...expertTraffic(input));
  found.push(...loadTraffic(input));
  if (pp > 1) {
    found.push(edgeTraffic(input));
    const { arriving } = tiedElements(input, input.at);
    const bytes = arriving * wideBytes;
    found.push({ along: ['pp'], what: 'tied gradients', collective: 'receive', bytes, messages: 1 });
  }
  if (pp * tp * ep > 1) found.push(normTraffic(input));
  found.push(...dataTraffic(input, part.volume, ''), ...dataTraffic(input, part.expertVolume, 'expert '));
  return found.filter(({ bytes }) => bytes > 0);
}

/** Parameters, gradients and norms of what ranks have copies of. */
function dataTraffic(
  { part, layout, elementBytes, wideBytes, zero }: TrafficInput,
  { gatheredElements, reducedElements, normElements }: DataVolume,
  of: '' | 'expert ',
): Traffic[] {
  const along = alongOf(layout, ...(of === '' ? dataAxes : copyAxes));
  const units = part.units.length;
  const norms = of === '' ? 'shard norms' : 'expert norms';
  return [
    {
      along,
      what: `${of}parameters`,
      collective: 'allGather',
      bytes: gatheredElements * elementBytes,
      messages: 2 * units,
    },
    {
      along,
      what: `${of}gradients`,
      collective: zero === 0 ? 'allReduce' : 'reduceScatter',
      bytes: reducedElements * wideBytes,
      messages: units,
    },
    { along, what: norms, collective: 'allGather', bytes: normElements * 8, messages: 1 },
  ];
}

/** Sums over units, of a step. */
const totalOf =
  <One>(units: readonly One[], microBatches: number) =>
  (pick: (one: One) => number): number =>
    microBatches * units.reduce((sum, one) => sum + pick(one), 0);

/** How often forward of a unit runs for a micro-batch. */
const forwardsOf = ({ activations }: Unit): number => (activations === 'keep' ? 1 : 2);

interface SequenceBytes {
  readonly around: number;
  readonly scattered: number;
  readonly messages: number;
}

/** A block's attention for one micro-batch: what comes by or is exchanged, and gradients that are scattered. */
function sequenceBytesOf(unit: Unit, { built, part, elementBytes, wideBytes }: TrafficInput): SequenceBytes {
  const { share } = part;
  if (share === null || kindOf(unit, built) !== 'block') {
    return { around: 0, scattered: 0, messages: 0 };
  }
  const { heads, keyValueHeads, headSize } = attentionSizes(built);
  const { inside } = part.tensor;
  const own = { heads: heads / inside, keyValueHeads: keyValueHeads / inside };
  const copies = share.mode === 'heads' ? copiesOfHeads(own.heads, own.keyValueHeads, share.parts) : 1;
  const shape = { rows: part.sequences * part.length, headSize, copies, ...own };
  const volume = sharedAttentionVolume(share.mode, share.parts, shape);
  const forward = forwardsOf(unit) * volume.forward;
  const scattered = share.mode === 'scores' ? volume.backward / 2 : 0;
  return {
    around: (forward + volume.backward - scattered) * elementBytes + volume.wide * wideBytes,
    scattered: scattered * elementBytes,
    messages: forwardsOf(unit) * volume.forwardMessages + volume.backwardMessages,
  };
}

function sequenceTraffic(input: TrafficInput): Traffic[] {
  const { part, microBatches, built, wideBytes } = input;
  const along = ['sp'] as const;
  const total = totalOf(
    part.units.map((unit) => sequenceBytesOf(unit, input)),
    microBatches,
  );
  const { mode, parts } = part.share!;
  const hasHead = part.units.some((unit) => kindOf(unit, built) === 'head');
  const bytes = total(({ around }) => around);
  const messages = total((one) => one.messages);
  return [
    mode === 'heads'
      ? { along, what: 'heads', collective: 'allToAll', bytes, messages }
      : { along, what: 'keys and values', collective: 'receive', bytes, messages },
    {
      along,
      what: 'gradients of keys and values',
      collective: 'reduceScatter',
      bytes: total(({ scattered }) => scattered),
      messages: 0,
    },
    {
      along,
      what: 'loss',
      collective: 'allReduce',
      messages: microBatches,
      // Sum and number of labels.
      bytes: hasHead ? microBatches * allReduceReceives(2, 0, parts) * wideBytes : 0,
    },
  ];
}

interface ExpertBytes {
  readonly rows: number;
  readonly counts: number;
  readonly messages: number;
}

/** A block's mixture for one micro-batch. */
function expertBytesOf(unit: Unit, { built, layout, part, elementBytes }: TrafficInput): ExpertBytes {
  const mixture = mixtureOf(built);
  const { ep } = layout.degrees;
  if (ep === 1 || mixture === null || kindOf(unit, built) !== 'block') {
    return { rows: 0, counts: 0, messages: 0 };
  }
  const { forward, backward, counts, messages } = mixtureVolume(ep, {
    width: widthOf(built),
    experts: mixture.num_local_experts,
    rows: assignedRows(mixture, part.sequences * part.length),
    isDropless: mixture.expert_capacity_factor === undefined,
  });
  const forwards = forwardsOf(unit);
  return {
    rows: (forwards * forward + backward) * elementBytes,
    counts: forwards * counts * 8,
    messages: (forwards + 1) * messages,
  };
}

function expertTraffic(input: TrafficInput): Traffic[] {
  const { part, microBatches } = input;
  const total = totalOf(
    part.units.map((unit) => expertBytesOf(unit, input)),
    microBatches,
  );
  const of = { along: ['ep'], collective: 'allToAll' } as const;
  return [
    { ...of, what: 'rows', bytes: total(({ rows }) => rows), messages: total(({ messages }) => messages) },
    { ...of, what: 'row counts', bytes: total(({ counts }) => counts), messages: 0 },
  ];
}

/** How many tokens each expert got over all ranks, and how many ranks there are, for the loss that balances them. */
function loadTraffic(input: TrafficInput): Traffic[] {
  const { built, layout, part, microBatches, wideBytes } = input;
  const mixture = mixtureOf(built);
  const { dp, sp, ep } = layout.degrees;
  if (mixture === null || mixture.router_aux_loss_coef === 0 || dp * sp * ep === 1) return [];
  const blocks = part.units.filter((unit) => kindOf(unit, built) === 'block');
  const times = microBatches * blocks.reduce((sum, unit) => sum + forwardsOf(unit), 0);
  const each = allReduceReceives(mixture.num_local_experts + 1, 0, dp * sp * ep);
  const along = alongOf(layout, ...dataAxes);
  return [{ along, what: 'loads', collective: 'allReduce', bytes: times * each * wideBytes, messages: times }];
}

const kindOf = ({ index }: Unit, { model }: BuiltModel): UnitKind =>
  index === 0 ? 'embedding' : index === model.blocks.length + 1 ? 'head' : 'block';

/** Bytes of one unit for one micro-batch; under recomputation forward runs twice. */
export function tensorBytesOf(unit: Unit, input: TrafficInput): number {
  const { built, layout, part, elementBytes, wideBytes } = input;
  const { tp } = layout.degrees;
  if (tp === 1) return 0;
  const rows = part.sequences * part.length;
  const forwards = forwardsOf(unit);
  if (part.tensor.blocks !== null) {
    const { forward, backward, wideForward, wideBackward } = receivedIn(unit.module, rows * part.tensor.rows);
    return (forwards * forward + backward) * elementBytes + (forwards * wideForward + wideBackward) * wideBytes;
  }
  const mixture = mixtureOf(built);
  const shape = {
    rows,
    ...(mixture === null ? {} : { mlpRows: assignedRows(mixture, rows) }),
    width: widthOf(built),
    headNorms: headNormElements(built),
  };
  const kind = kindOf(unit, built);
  const { forward, backward, wide } = tensorUnitVolume(kind, tp, shape);
  return (forwards * forward + backward) * elementBytes + forwards * wide * wideBytes;
}

function tensorTraffic(input: TrafficInput): Traffic {
  const { part, microBatches } = input;
  const bytes = part.units.reduce((sum, unit) => sum + tensorBytesOf(unit, input), 0);
  return {
    along: ['tp'],
    ...(part.tensor.blocks === null
      ? { what: 'activations', collective: 'allReduce' }
      : { what: 'blocks', collective: 'blocks' }),
    bytes: bytes * microBatches,
    messages: tensorMessages(part) * microBatches,
  };
}

/** Forward and backward of a micro-batch. */
function tensorMessages({ units, tensor }: RankPart): number {
  if (tensor.blocks === null) return 4 * units.length;
  return units.reduce((sum, unit) => sum + receivedIn(unit.module, tensor.ranks).messages, 0);
}

/** All parts of the model learn all squared norms, and how many numbers were bad: two doubles a parameter. */
function normTraffic({ built, layout }: TrafficInput): Traffic {
  const { tp, pp, ep } = layout.degrees;
  const doubles = 2 * built.model.parameters().filter(({ trainable }) => trainable).length;
  const bytes = 8 * allReduceReceives(doubles, 0, pp * ep * tp);
  return { along: alongOf(layout, 'pp', 'ep', 'tp'), what: 'norms', collective: 'allReduce', bytes, messages: 1 };
}

/** Norms of single heads: query's and key's. */
function headNormElements({ model }: BuiltModel): number {
  const { qk_norm = false, head_dim = 0 } = model.config as { qk_norm?: boolean; head_dim?: number };
  return qk_norm ? 2 * head_dim : 0;
}

/** An activation for every stage whose input comes from elsewhere, and a gradient for every one whose output goes elsewhere. */
function edgeTraffic({ pipeline, at, part, microBatches, built, elementBytes }: TrafficInput): Traffic {
  const { schedule, stagesOf } = pipeline!;
  const elsewhere = (stage: number): boolean =>
    stage >= 0 && stage < schedule.stages && rankOfStage(stage, schedule) !== at;
  const edges = stagesOf[at]!.reduce(
    (sum, stage) => sum + (elsewhere(stage - 1) ? 1 : 0) + (elsewhere(stage + 1) ? 1 : 0),
    0,
  );
  const bytes = (part.sequences * part.length * widthOf(built) * elementBytes) / part.tensor.width;
  const messages = edges * microBatches;
  return { along: ['pp'], what: 'stage edges', collective: 'receive', bytes: messages * bytes, messages };
}

export function layerTraffic(input: TrafficInput): LayerTraffic | null {
  const { part, layout, built, elementBytes, wideBytes, zero, replicate } = input;
  const block = part.units.find((unit) => kindOf(unit, built) === 'block');
  if (block === undefined) return null;
  const ranks = copyRanks(layout, replicate);
  const { isExpert } = part;
  const ranksOf = (parameter: Parameter): number => (isExpert(parameter) ? ranks.experts : ranks.all);
  const flats: Flat[] = layFlats(
    [block],
    (parameter: Parameter) => part.groupIn(parameter),
    (parameter) => (isExpert(parameter) ? 1 : 0),
  );
  const away =
    zero === 0
      ? block.parameters.reduce((sum, parameter) => {
          const copies = ranksOf(parameter) * replicate;
          return sum + (2 * (copies - 1) * parameter.elements) / copies;
        }, 0)
      : flats.reduce((sum, flat) => {
          const copies = ranksOf(flat.parameters[0]!.parameter);
          return sum + (copies - 1) * shardElements(flat, copies);
        }, 0);
  const { around, scattered } = sequenceBytesOf(block, input);
  const { rows, counts } = expertBytesOf(block, input);
  return {
    tensorBytes: tensorBytesOf(block, input),
    sequenceBytes: around + scattered,
    expertBytes: rows + counts,
    gatherBytes: zero === 0 ? 0 : away * elementBytes,
    reduceBytes: away * wideBytes,
  };
}

/** Seconds of a step in which attention computes while keys and values go around: forward once or twice, backward 2.5 times as much. */
export function besideRing({ part, built, microBatches }: TrafficInput, computeFlops: number): number {
  const { share } = part;
  if (share?.mode !== 'ring') return 0;
  const { heads, headSize } = attentionSizes(built);
  const macs = (part.sequences * heads * headSize * part.length ** 2 * share.parts) / part.tensor.inside;
  const times = part.units
    .filter((unit) => kindOf(unit, built) === 'block')
    .reduce((sum, unit) => sum + forwardsOf(unit) + 2.5, 0);
  return (2 * macs * times * microBatches) / computeFlops;
}
