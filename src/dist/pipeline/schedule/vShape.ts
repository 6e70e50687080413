/**
 * ZBV: two stages a rank, placed in a V, so that the first and the last layers lie on rank 0 and what the last rank's
 * first stage returns stays there; backward is split as in ZB-H1 (Qi et al. 2023, 2024).
 *
 * No closed order is used: ranks are simulated, and whenever one is free it takes the most urgent thing that is ready and
 * fits into memory. Weight gradients fill the gaps, or make room. Which work is most urgent depends on the costs, so a few rules are tried and the
 * shortest step wins.
 */
import { TierraError } from '../../../core/errors.ts';
import { durationOf, type ScheduleCosts, unitCosts } from './costs.ts';
import { doneKeys, needsOf, timeOrder } from './timing.ts';
import { type ComputeAction, type ComputeOrder, rankOfStage, stagesOfRank } from './types.ts';

export interface VShapeOptions {
  readonly costs?: ScheduleCosts;
  /** Most (stage, micro-batch) pairs alive on a rank; default 2 P, the memory of 1F1B's first rank. At least 2. */
  readonly inFlight?: number;
}

/** What is urgent, most urgent first: backward, forward on the way back up the V, forward on the way down. */
type Urgency = readonly ('back' | 'up' | 'down')[];

const rules: readonly Urgency[] = [
  ['back', 'up', 'down'],
  ['up', 'back', 'down'],
  ['back', 'down', 'up'],
  ['up', 'down', 'back'],
];

/** Throws `E_CONFIG` when not even one micro-batch would fit. */
export function zeroBubbleV(ranks: number, microBatches: number, options: VShapeOptions = {}): ComputeOrder {
  const { costs = unitCosts, inFlight = 2 * ranks } = options;
  if (!(inFlight >= 2)) {
    throw new TierraError(
      'E_CONFIG',
      `zbv pipeline: a rank must keep 2 activations, one of each of its stages; the limit is ${inFlight}`,
    );
  }
  const bound = Math.min(inFlight, 2 * microBatches);
  const attempts = rules.flatMap((urgency) =>
    [true, false].map((eager): { order: ComputeOrder; span: number } => {
      const order: ComputeOrder = {
        name: 'zbv',
        ranks,
        microBatches,
        chunks: 2,
        placement: 'v',
        order: new Greedy(ranks, microBatches, costs, bound, urgency, eager).run(),
        inFlightBound: Array.from({ length: ranks }, () => bound),
      };
      return { order, span: Math.max(...timeOrder(order, costs).map(({ end }) => end)) };
    }),
  );
  return attempts.reduce((best, one) => (one.span < best.span ? one : best)).order;
}

interface RankState {
  /** Its stages: on the way down the V and back up. */
  readonly down: number;
  readonly up: number;
  freeAt: number;
  inFlight: number;
  /** Next micro-batch by stage. */
  readonly forward: Map<number, number>;
  readonly back: Map<number, number>;
  /** Weight gradients that are due, in the order of their input gradients. */
  readonly weights: ComputeAction[];
  readonly order: ComputeAction[];
}

class Greedy {
  readonly #shape: { readonly ranks: number; readonly chunks: number; readonly placement: 'v' };
  readonly #microBatches: number;
  readonly #costs: ScheduleCosts;
  readonly #bound: number;
  readonly #urgency: Urgency;
  /** Weight gradients before forwards once half the memory is taken. */
  readonly #eager: boolean;
  readonly #done = new Map<string, number>();
  /** Moments to come at which a rank is free or a tensor arrives. */
  readonly #moments = new Set<number>();
  readonly #ranks: RankState[];

  constructor(
    ranks: number,
    microBatches: number,
    costs: ScheduleCosts,
    bound: number,
    urgency: Urgency,
    eager: boolean,
  ) {
    this.#shape = { ranks, chunks: 2, placement: 'v' };
    this.#microBatches = microBatches;
    this.#costs = costs;
    this.#bound = bound;
    this.#urgency = urgency;
    this.#eager = eager;
    this.#ranks = Array.from({ length: ranks }, (_, rank) => {
      const [down, up] = stagesOfRank(rank, this.#shape) as [number, number];
      const stages = [[down, 0] as const, [up, 0] as const];
      return {
        down,
        up,
        freeAt: 0,
        inFlight: 0,
        forward: new Map(stages),
        back: new Map(stages),
        weights: [],
        order: [],
      };
    });
  }

  run(): ComputeAction[][] {
    const total = this.#ranks.length * 2 * this.#microBatches * 3;
    let now = 0;
    for (let started = 0; started < total; ) {
      for (const state of this.#ranks) {
        if (state.freeAt > now) continue;
        const action = this.#choose(state, now);
        if (action === null) continue;
        this.#start(state, action, now);
        started++;
      }
      if (started < total) now = this.#nextTime(now);
    }
    return this.#ranks.map(({ order }) => order);
  }

  #start(state: RankState, action: ComputeAction, now: number): void {
    const { kind, stage, microBatch } = action;
    state.freeAt = now + durationOf(action, this.#costs);
    for (const key of doneKeys(action)) this.#done.set(key, state.freeAt);
    this.#moments.add(state.freeAt).add(state.freeAt + this.#costs.transfer);
    state.order.push(action);
    if (kind === 'forward') {
      state.forward.set(stage, microBatch + 1);
      state.inFlight++;
    } else if (kind === 'backwardInput') {
      state.back.set(stage, microBatch + 1);
      state.weights.push({ kind: 'backwardWeight', stage, microBatch });
    } else {
      state.weights.shift();
      state.inFlight--;
    }
  }

  #nextTime(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const at of this.#moments) {
      if (at <= now) this.#moments.delete(at);
      else next = Math.min(next, at);
    }
    return next;
  }

  #choose(state: RankState, now: number): ComputeAction | null {
    const { down, up } = state;
    const weight = state.weights[0] ?? null;
    for (const what of this.#urgency) {
      if (what === 'back') {
        // The older micro-batch first: it is the one further on its way.
        const ready = [down, up]
          .map((stage) => this.#ready('backwardInput', stage, state.back, now))
          .filter((action) => action !== null)
          .sort((a, b) => a.microBatch - b.microBatch);
        if (ready.length > 0) return ready[0]!;
        continue;
      }
      const action = this.#ready('forward', what === 'up' ? up : down, state.forward, now);
      if (action === null) continue;
      if (weight !== null && this.#eager && 2 * state.inFlight >= this.#bound) return weight;
      // One place stays for the way back up: without it the V could fill and never empty.
      if (state.inFlight < this.#bound - (what === 'down' ? 1 : 0)) return action;
      if (weight !== null) return weight;
    }
    return weight;
  }

  #ready(
    kind: 'forward' | 'backwardInput',
    stage: number,
    next: ReadonlyMap<number, number>,
    now: number,
  ): ComputeAction | null {
    const microBatch = next.get(stage)!;
    if (microBatch >= this.#microBatches) return null;
    const action = { kind, stage, microBatch };
    const { local, crossing } = needsOf(action, 2 * this.#shape.ranks);
    const early = (key: string, delay: number): boolean => (this.#done.get(key) ?? Infinity) + delay <= now;
    if (!local.every((key) => early(key, 0))) return null;
    if (crossing === null) return action;
    const travels = rankOfStage(crossing.stage, this.#shape) !== rankOfStage(stage, this.#shape);
    return early(crossing.key, travels ? this.#costs.transfer : 0) ? action : null;
  }
}
