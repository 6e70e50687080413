/**
 * A pipeline schedule is data: for every rank an ordered list of actions. A model is cut into **stages**, numbered in
 * model order; a rank holds one of them, or several (its **chunks**). Every action names a stage and a micro-batch.
 */

export const scheduleNames = ['gpipe', '1f1b', 'interleaved', 'zb-h1', 'zbv'] as const;
export type ScheduleName = (typeof scheduleNames)[number];

/** What is computed for one stage and micro-batch. */
export type ComputeKind =
  | 'forward'
  | 'backward' // gradients of inputs and weights together
  | 'backwardInput' // what the stage before waits for
  | 'backwardWeight'; // needed by the update alone, so it may fill what would be idle

export interface ComputeAction {
  readonly kind: ComputeKind;
  readonly stage: number;
  readonly microBatch: number;
}

/** A tensor on its way between two ranks; `stage` made it: its activation goes to the next stage, its gradient to the one before. */
export interface TransferAction {
  readonly kind: 'send' | 'receive';
  readonly payload: 'activation' | 'gradient';
  readonly stage: number;
  readonly microBatch: number;
  /** The other rank, as a position in the pipeline. */
  readonly peer: number;
}

export type Action = ComputeAction | TransferAction;

/** Which rank holds which stage: `loop` deals them out again and again, `v` turns around at the last rank. */
export type Placement = 'loop' | 'v';

/** What a generator decides: the order of computation on each rank. */
export interface ComputeOrder {
  /** One of `scheduleNames`, or of your own. */
  readonly name: string;
  readonly ranks: number;
  readonly microBatches: number;
  /** Stages per rank. */
  readonly chunks: number;
  readonly placement: Placement;
  readonly order: readonly (readonly ComputeAction[])[];
  /** By rank: most (stage, micro-batch) pairs whose activations may be alive at once. */
  readonly inFlightBound: readonly number[];
}

/** A generator of your own, for the ranks of a pipeline and the micro-batches of a step; what it makes is checked as all are. */
export type ScheduleMaker = (ranks: number, microBatches: number) => ComputeOrder;

/** A whole schedule: computation and transfers, in the order in which each rank issues them. */
export interface Schedule extends Omit<ComputeOrder, 'order'> {
  readonly stages: number;
  readonly actions: readonly (readonly Action[])[];
}

export const isTransfer = (action: Action): action is TransferAction =>
  action.kind === 'send' || action.kind === 'receive';

/** Whether the activations of the stage are released after it. */
export const endsFlight = (kind: ComputeKind): boolean => kind === 'backward' || kind === 'backwardWeight';

/** Rank of `stage`. */
export function rankOfStage(
  stage: number,
  { ranks, placement }: { readonly ranks: number; readonly placement: Placement },
): number {
  const position = stage % ranks;
  const turned = placement === 'v' && Math.floor(stage / ranks) % 2 === 1;
  return turned ? ranks - 1 - position : position;
}

/** Stages of `rank`, in model order. */
export function stagesOfRank(
  rank: number,
  shape: { readonly ranks: number; readonly chunks: number; readonly placement: Placement },
): number[] {
  const all = Array.from({ length: shape.ranks * shape.chunks }, (_, stage) => stage);
  return all.filter((stage) => rankOfStage(stage, shape) === rank);
}

const letters: Readonly<Record<ComputeKind, string>> = {
  forward: 'F',
  backward: 'B',
  backwardInput: 'b',
  backwardWeight: 'w',
};

/** Short and unique: `F2.0` is the forward of stage 2 for micro-batch 0, `a2.0>1` its activation sent to rank 1. */
export function label(action: Action): string {
  const { stage, microBatch } = action;
  if (!isTransfer(action)) return `${letters[action.kind]}${stage}.${microBatch}`;
  return `${action.payload === 'activation' ? 'a' : 'g'}${stage}.${microBatch}${action.kind === 'send' ? '>' : '<'}${action.peer}`;
}
