import type { ComputeAction } from './types.ts';

/** Time of one stage's work for one micro-batch, in any unit; `transfer` passes between a send and its arrival. */
export interface ScheduleCosts {
  readonly forward: number;
  readonly backwardInput: number;
  readonly backwardWeight: number;
  readonly transfer: number;
  /** By stage: what its work costs relative to the others. Default 1 each. */
  readonly stageWeights?: readonly number[];
}

/** Forward, input gradient and weight gradient each cost 1: the usual picture of a transformer. */
export const unitCosts: ScheduleCosts = { forward: 1, backwardInput: 1, backwardWeight: 1, transfer: 0 };

export function durationOf({ kind, stage }: ComputeAction, costs: ScheduleCosts): number {
  const { forward, backwardInput, backwardWeight } = costs;
  const whole = { forward, backwardInput, backwardWeight, backward: backwardInput + backwardWeight }[kind];
  return whole * (costs.stageWeights?.[stage] ?? 1);
}
