/** What one rank receives from others in a step, in bytes, by what it is and in which group it comes. */
import { tensorUnitVolume, type UnitKind } from '../dist/costs/index.ts';
import type { MeshLayout } from '../dist/index.ts';
import { type PipelineLayout, rankOfStage } from '../dist/pipeline/index.ts';
import { allReduceReceives } from '../dist/tensor/counts.ts';
import { type Flat, layFlats, shardElements } from '../dist/zero/index.ts';
import type { BuiltModel } from '../models/index.ts';
import type { Parameter, Unit } from '../nn/index.ts';
import { type RankPart, tiedElements, widthOf } from './planRank.ts';

export interface Traffic {
  /** Axis of the group: tp, pp or dp. */
  readonly axis: 'tp' | 'pp' | 'dp';
  readonly what: 'activations' | 'stage edges' | 'tied gradients' | 'parameters' | 'gradients' | 'norms';
  /** Received by one rank in a step. */
  readonly bytes: number;
  readonly messages: number;
}

/** One block, where there is any. */
export interface LayerTraffic {
  /** For every micro-batch, in the tensor group. */
  readonly tensorBytes: number;
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
  readonly sequenceLength: number;
  readonly elementBytes: number;
  readonly wideBytes: number;
  readonly zero: number;
  readonly replicate: number;
}

export function trafficOf(input: TrafficInput): Traffic[] {
  const { part, layout, elementBytes, wideBytes } = input;
  const { volume } = part;
  const found: Traffic[] = [];
  const { tp, pp, dp } = layout.degrees;
  if (tp > 1) found.push(tensorTraffic(input));
  if (pp > 1) {
    found.push(edgeTraffic(input));
    const { arriving } = tiedElements(input, input.at);
    found.push({ axis: 'pp', what: 'tied gradients', bytes: arriving * wideBytes, messages: 1 });
  }
  if (pp * tp > 1) found.push(normTraffic(input));
  if (dp > 1) {
    const units = part.units.length;
    found.push(
      { axis: 'dp', what: 'parameters', bytes: volume.gatheredElements * elementBytes, messages: 2 * units },
      { axis: 'dp', what: 'gradients', bytes: volume.reducedElements * wideBytes, messages: units },
      { axis: 'dp', what: 'norms', bytes: volume.normElements * 8, messages: 1 },
    );
  }
  return found.filter(({ bytes }) => bytes > 0);
}

const kindOf = (unit: Unit, last: number): UnitKind =>
  unit.index === 0 ? 'embedding' : unit.index === last ? 'head' : 'block';

/** Bytes of one unit for one micro-batch; under recomputation forward runs twice. */
export function tensorBytesOf(unit: Unit, input: TrafficInput): number {
  const { built, layout, part, sequenceLength, elementBytes, wideBytes } = input;
  const { tp } = layout.degrees;
  if (tp === 1) return 0;
  const shape = {
    rows: part.sequences * sequenceLength,
    width: widthOf(built),
    headNorms: headNormElements(built),
  };
  const kind = kindOf(unit, built.model.blocks.length + 1);
  const { forward, backward, wide } = tensorUnitVolume(kind, tp, shape);
  const times = unit.activations === 'keep' ? 1 : 2;
  return (times * forward + backward) * elementBytes + times * wide * wideBytes;
}

function tensorTraffic(input: TrafficInput): Traffic {
  const { part, microBatches } = input;
  const bytes = part.units.reduce((sum, unit) => sum + tensorBytesOf(unit, input), 0);
  return {
    axis: 'tp',
    what: 'activations',
    bytes: bytes * microBatches,
    messages: 4 * part.units.length * microBatches,
  };
}

/** All parts of the model learn all squared norms, and how many numbers were bad: two doubles a parameter. */
function normTraffic({ built, layout }: TrafficInput): Traffic {
  const { tp, pp } = layout.degrees;
  const doubles = 2 * built.model.parameters().filter(({ trainable }) => trainable).length;
  return { axis: pp > 1 ? 'pp' : 'tp', what: 'norms', bytes: 8 * allReduceReceives(doubles, 0, pp * tp), messages: 1 };
}

/** Norms of single heads: query's and key's. */
function headNormElements({ model }: BuiltModel): number {
  const { qk_norm = false, head_dim = 0 } = model.config as { qk_norm?: boolean; head_dim?: number };
  return qk_norm ? 2 * head_dim : 0;
}

/** An activation for every stage whose input comes from elsewhere, and a gradient for every one whose output goes elsewhere. */
function edgeTraffic({ pipeline, at, part, microBatches, sequenceLength, built, elementBytes }: TrafficInput): Traffic {
  const { schedule, stagesOf } = pipeline!;
  const elsewhere = (stage: number): boolean =>
    stage >= 0 && stage < schedule.stages && rankOfStage(stage, schedule) !== at;
  const edges = stagesOf[at]!.reduce(
    (sum, stage) => sum + (elsewhere(stage - 1) ? 1 : 0) + (elsewhere(stage + 1) ? 1 : 0),
    0,
  );
  const bytes = part.sequences * sequenceLength * widthOf(built) * elementBytes;
  return { axis: 'pp', what: 'stage edges', bytes: edges * microBatches * bytes, messages: edges * microBatches };
}

export function layerTraffic(input: TrafficInput): LayerTraffic | null {
  const { part, layout, built, elementBytes, wideBytes, zero, replicate } = input;
  const last = built.model.blocks.length + 1;
  const block = part.units.find((unit) => kindOf(unit, last) === 'block');
  if (block === undefined) return null;
  const ranks = layout.degrees.dp / replicate;
  const whole = block.parameters.reduce((sum, { elements }) => sum + elements, 0);
  const shards = (): number => {
    const flats: Flat[] = layFlats([block], (parameter: Parameter) => part.groupIn(parameter));
    return flats.reduce((sum, flat) => sum + shardElements(flat, ranks), 0);
  };
  const away =
    layout.degrees.dp === 1
      ? 0
      : zero === 0
        ? (2 * (layout.degrees.dp - 1) * whole) / layout.degrees.dp
        : (ranks - 1) * shards();
  return {
    tensorBytes: tensorBytesOf(block, input),
    gatherBytes: zero === 0 ? 0 : away * elementBytes,
    reduceBytes: away * wideBytes,
  };
}
