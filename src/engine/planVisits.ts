/** From a model's shapes to the visits that one micro-batch would leave: what the planner otherwise learns from a trace. */
import type { Machine } from '../memory/index.ts';
import { Gpt2, type LanguageModel, Llama } from '../models/index.ts';
import type { Unit } from '../nn/index.ts';
import type { Visit } from '../offload/chunked/traceHost.ts';
import type { BatchShape } from './planBatch.ts';
import { type DescribedUnit, gpt2Units, llamaTables, llamaUnits } from './planFamilies.ts';
import { type UnitCost, unitCost } from './planOps.ts';
import type { RankPart } from './planRank.ts';

/** What turns multiply-adds and bytes into seconds. */
export interface ComputeRates {
  readonly computeFlops: Machine['computeFlops'];
  /** Bytes per second of operators that are no matrix multiplications. */
  readonly elementwiseBytes: number;
  /** Fixed cost of one operator. */
  readonly operatorSeconds: number;
}

/**
 * Visits of one micro-batch, forward then backward. Bytes are those beside the chunks. `units` are those of the model, or of
 * the part that one rank computes.
 */
export function estimateVisits(
  model: LanguageModel,
  units: readonly Unit[],
  batch: BatchShape,
  rates: ComputeRates,
  part: RankPart | null = null,
): Visit[] {
  const whole = describeUnits(model, batch);
  const described = units.map(({ index }) => whole[index]!);
  const keptOf = (index: number): Unit => part?.kept[index] ?? units[index]!;
  /** What comes from another rank is nobody's output here. */
  const arriving = (index: number): number => {
    const before = units[index - 1]?.index ?? -1;
    return units[index]!.index === before + 1 ? 0 : batch.block(described[index]!.input.bytes);
  };
  const beside = (index: number, pass: 'forward' | 'backward'): number =>
    part?.besideBytes(units[index]!.index, pass) ?? 0;
  const known = new Map<DescribedUnit['ops'], Map<boolean, UnitCost>>();
  const costOf = (index: number): UnitCost => {
    const { input, ops } = described[index]!;
    const keep = units[index]!.activations === 'keep';
    const byPolicy = known.get(ops) ?? new Map<boolean, UnitCost>();
    known.set(ops, byPolicy);
    const cost = byPolicy.get(keep) ?? unitCost(input, ops, keep, batch.block);
    byPolicy.set(keep, cost);
    return cost;
  };
  const tables = model instanceof Llama ? llamaTables(model, batch) : 0;
  const visits: Visit[] = [];
  const forwardEnds: number[] = [];
  // Token ids are not parked, and the last unit's input is needed at once.
  const parkedAt = (index: number): number =>
    units[index]!.activations === 'park' && index > 0 && index < units.length - 1 ? described[index]!.input.bytes : 0;
  let live = 0;
  for (const index of units.keys()) {
    const cost = costOf(index);
    const work = (units[0]!.index === 0 ? index === 1 : index === 0) ? tables : 0;
    const arrived = arriving(index);
    const peak = live + arrived + work + cost.forwardPeakBytes + beside(index, 'forward');
    const seconds = secondsOf(cost.forwardMacs, cost.forwardTraffic, cost.operators, rates);
    const parked = parkedAt(index);
    visits.push({
      unit: keptOf(index),
      pass: 'forward',
      seconds,
      beforeBytes: live,
      peakBytes: peak,
      afterBytes: live + arrived + work + cost.keptBytes,
    });
    live += arrived + work + cost.keptBytes - parked;
    forwardEnds.push(arrived + cost.keptBytes);
  }
  for (let index = units.length - 1; index >= 0; index--) {
    const unit = units[index]!;
    const cost = costOf(index);
    const output = batch.block(described[index]!.ops.at(-1)!.bytes);
    const parked = parkedAt(index);
    const before = live + output;
    const peakBytes = before + parked + cost.backwardPeakBytes + beside(index, 'backward');
    const again = unit.activations === 'keep' ? 1 : 2;
    const seconds = secondsOf(cost.backwardMacs, cost.backwardTraffic, cost.operators * (again + 1), rates);
    const bytes = { beforeBytes: before, peakBytes, afterBytes: before, unparkedBytes: parked };
    visits.push({ unit: keptOf(index), pass: 'backward', seconds, ...bytes });
    live += parked - forwardEnds[index]!;
  }
  return visits;
}

function describeUnits(model: LanguageModel, batch: BatchShape): DescribedUnit[] {
  if (model instanceof Gpt2) return gpt2Units(model, batch);
  return llamaUnits(model as Llama, batch);
}

function secondsOf(macs: number, traffic: number, operators: number, rates: ComputeRates): number {
  return (2 * macs) / rates.computeFlops + traffic / rates.elementwiseBytes + operators * rates.operatorSeconds;
}
