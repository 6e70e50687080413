/**
 * A mixture of experts in place of a block's MLP (Shazeer et al. 2017): a router sends each token to k of E experts, whose results are
 * summed by the router's weights. With a capacity every expert has a fixed number of slots and what does not fit is dropped (its
 * share of the result is zero); without one nothing is dropped. Experts may be spread over ranks.
 */
import { TierraError } from '../../core/errors.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import { attachLoss } from '../attachedLoss.ts';
import type { Initializer } from '../init.ts';
import { layers } from '../layerFactory.ts';
import { type ActivationName, SwiGLU } from '../layers/mlp.ts';
import { Module } from '../module.ts';
import { assignmentRows, assignSlots, capacityOf, combineAssignments, rowsOrZeros, sortByExpert } from './dispatch.ts';
import type { ExpertExchange } from './expertExchange.ts';
import { Router, type RouterOptions, type Routing } from './router.ts';

export interface MoeOptions extends RouterOptions {
  readonly width: number;
  /** Width inside an expert. */
  readonly hidden: number;
  readonly activation?: ActivationName;
  /** Slots of an expert as a multiple of what it would get if all got the same; null: as many as needed. Default null. */
  readonly capacityFactor?: number | null;
  /** Fewest slots of an expert. Default 4. */
  readonly leastCapacity?: number;
  readonly init?: Initializer;
}

/** A router sends whole rows. */
function checkRowsAreWhole(): void {
  const { blocks } = layers();
  if (blocks === null) return;
  throw new TierraError(
    'E_UNSUPPORTED',
    `a mixture of experts needs whole rows, and this mode of tensor parallelism cuts their width over ${blocks.width} ranks`,
    { hint: 'Take parallel.tensor: 1d for models with experts.' },
  );
}

export class MoeBlock extends Module<[Tensor], Tensor> {
  readonly router: Router;
  /** By number, also those that other ranks have. */
  readonly experts: readonly SwiGLU[];
  readonly options: MoeOptions;
  #exchange: ExpertExchange | null = null;

  constructor(options: MoeOptions) {
    super();
    checkRowsAreWhole();
    const { width, hidden, activation, init } = options;
    this.options = options;
    this.router = new Router(width, options);
    const inner = { ...(init === undefined ? {} : { init }), ...(activation === undefined ? {} : { activation }) };
    this.experts = Array.from({ length: options.experts }, () => new SwiGLU(width, hidden, inner));
  }

  /** Where other ranks have some of the experts. */
  get exchange(): ExpertExchange | null {
    return this.#exchange;
  }

  /** Leaves to other ranks the experts that `exchange` says are theirs. Before parameters are placed. */
  spread(exchange: ExpertExchange): void {
    const { begin, end } = exchange.range(this.options.experts);
    for (const [number, expert] of this.experts.entries()) {
      for (const parameter of expert.parameters()) parameter.isHere = number >= begin && number < end;
    }
    this.#exchange = exchange;
  }

  /** The experts that this rank has. */
  get expertsHere(): readonly SwiGLU[] {
    const { begin, end } = this.#exchange?.range(this.options.experts) ?? { begin: 0, end: this.experts.length };
    return this.experts.slice(begin, end);
  }

  /** x `[..., width]`. */
  forward(x: Tensor): Tensor {
    const rows = ops.reshape(x, [-1, this.options.width]);
    const routing = this.router.call(rows, this.#exchange);
    const mixed = this.options.capacityFactor == null ? this.#dropless(rows, routing) : this.#slotted(rows, routing);
    const out = ops.reshape(mixed, x.shape);
    return routing.loss === null ? out : attachLoss(out, routing.loss);
  }

  #dropless(x: Tensor, { experts, weights }: Routing): Tensor {
    const { order, places, counts } = sortByExpert(experts, this.options.experts);
    const rows = ops.indexSelect(assignmentRows(x, this.options.k), 0, order);
    const there = this.#exchange?.rowsToExperts(rows, counts) ?? { rows, counts, back: (results: Tensor) => results };
    const results = there.back(this.#apply(there.rows, there.counts));
    return combineAssignments(ops.indexSelect(results, 0, places), weights);
  }

  #slotted(x: Tensor, { experts, weights }: Routing): Tensor {
    const { experts: count, k, width, capacityFactor, leastCapacity } = this.options;
    const capacity = capacityOf(x.size(0), k, count, capacityFactor ?? 1, leastCapacity);
    const { assignments, slots } = assignSlots(experts, count, capacity);
    const filled = ops.reshape(rowsOrZeros(assignmentRows(x, k), assignments), [count, capacity, width]);
    const there = this.#exchange?.toExperts(filled) ?? filled;
    const perExpert = there.size(1);
    const results = this.#apply(ops.reshape(there, [-1, width]), Array(there.size(0)).fill(perExpert));
    const shaped = ops.reshape(results, there.shape);
    const back = this.#exchange?.fromExperts(shaped) ?? shaped;
    return combineAssignments(rowsOrZeros(ops.reshape(back, [-1, width]), slots), weights);
  }

  /** Each expert here on its stretch of rows. One without rows runs all the same: its gradients are zero, not absent. */
  #apply(rows: Tensor, counts: readonly number[]): Tensor {
    const parts = ops.split(rows, counts, 0);
    return ops.cat(
      this.expertsHere.map((expert, i) => expert.call(parts[i]!)),
      0,
    );
  }
}
