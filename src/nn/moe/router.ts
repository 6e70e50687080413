/**
 * Which experts a token goes to. Top-1 with the probability as weight (Fedus, Zoph, Shazeer 2021), top-k with weights that are made to
 * sum to one (Lepikhin et al. 2020, Jiang et al. 2024). The gate is computed in fp32, fp64 for fp64 models.
 *
 * Shapes: T tokens, E experts, k experts per token.
 */
import { check } from '../../core/errors.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import type { Initializer } from '../init.ts';
import { Linear } from '../layers/linear.ts';
import { Module } from '../module.ts';
import { isWatched } from '../watching.ts';
import type { ExpertExchange } from './expertExchange.ts';

export interface RouterOptions {
  readonly experts: number;
  /** Experts per token. */
  readonly k: number;
  /** Weights of a token's experts are divided by their sum. Default: for k > 1. */
  readonly normalize?: boolean;
  /** In train mode inputs of the gate are multiplied by U(1 - jitter, 1 + jitter) (Fedus et al. 2021). Default 0. */
  readonly jitter?: number;
  /** Weight of the load-balance loss `E · Σ fᵢ · pᵢ`. Default 0. */
  readonly balanceWeight?: number;
  /** Weight of the z-loss, the mean of the squared log-sum-exp of the gate's logits (Zoph et al. 2022). Default 0. */
  readonly zWeight?: number;
  readonly init?: Initializer;
}

export interface Routing {
  /** int64 `[T, k]`, the most probable first. */
  readonly experts: Tensor;
  /** `[T, k]` in the type of the tokens. */
  readonly weights: Tensor;
  /** Weighted sum of the balance and z losses; null where both weights are 0 or nothing is trained. */
  readonly loss: Tensor | null;
}

export class Router extends Module<[Tensor, ExpertExchange | null], Routing> {
  /** weight `[E, width]`. */
  readonly gate: Linear;
  readonly options: Required<Omit<RouterOptions, 'init'>>;

  constructor(width: number, options: RouterOptions) {
    super();
    const { experts, k, init } = options;
    check(Number.isInteger(k) && k >= 1 && k <= experts, `a token cannot go to ${k} of ${experts} experts`);
    this.gate = new Linear(width, experts, { bias: false, ...(init === undefined ? {} : { init }) });
    this.options = { normalize: k > 1, jitter: 0, balanceWeight: 0, zWeight: 0, ...options };
  }

  override get drawsRandom(): boolean {
    return this.options.jitter > 0;
  }

  /** x `[T, width]`. */
  forward(x: Tensor, exchange: ExpertExchange | null): Routing {
    const { k, normalize } = this.options;
    const wide = x.dtype === 'float64' ? 'float64' : 'float32';
    const logits = ops.linear(
      this.#jittered(ops.to(x, { dtype: wide })),
      ops.to(this.gate.weight.tensor, { dtype: wide }),
    );
    const probabilities = ops.softmax(logits, 1);
    const [chosen, experts] = isWatched() ? inTurn(probabilities, k) : ops.topk(probabilities, k, 1);
    const weights = normalize ? ops.div(chosen, ops.sum(chosen, [1], true)) : chosen;
    return {
      experts,
      weights: ops.to(weights, { dtype: x.dtype }),
      loss: this.training ? this.#loss(logits, probabilities, experts, exchange) : null,
    };
  }

  #jittered(x: Tensor): Tensor {
    const { jitter } = this.options;
    if (!this.training || jitter === 0) return x;
    const factors = ops.empty(x.shape, { dtype: x.dtype, device: x.device });
    ops.uniformInPlace(factors, 1 - jitter, 1 + jitter);
    return ops.mul(x, factors);
  }

  /**
   * fᵢ: assignments to expert i per token, over all ranks' tokens; pᵢ: mean probability. Each rank adds what its tokens contribute
   * to the mean over ranks, so that averaged gradients are those of the whole batch's loss.
   */
  #loss(logits: Tensor, probabilities: Tensor, experts: Tensor, exchange: ExpertExchange | null): Tensor | null {
    const { balanceWeight, zWeight, k, experts: count } = this.options;
    if (balanceWeight === 0 && zWeight === 0) return null;
    const { dtype, device } = logits;
    const loads = ops.cat([loadsOf(experts, count, logits), ops.ones([1], { dtype, device })], 0);
    const all = exchange === null ? loads : exchange.sumOverTokens(loads);
    const [assigned, ranks] = ops.split(all, [count, 1], 0) as readonly [Tensor, Tensor];
    const tokens = ops.div(ops.sum(assigned), k);
    const perToken = ops.div(ranks, tokens);
    const balance = ops.mul(
      ops.sum(ops.mul(ops.div(assigned, tokens), ops.sum(probabilities, [0]))),
      balanceWeight * count,
    );
    const z = ops.mul(ops.sum(ops.pow(ops.logsumexp(logits, [1]), 2)), zWeight);
    return ops.mul(ops.add(balance, z), ops.reshape(perToken, []));
  }
}

/** Token t's choices are experts t·k, t·k + 1, … in turn, and their probabilities: as many tokens for each. */
function inTurn(probabilities: Tensor, k: number): readonly [Tensor, Tensor] {
  const [tokens, count] = probabilities.shape as readonly [number, number];
  const turns = Array.from({ length: tokens * k }, (_, at) => at % count);
  const experts = ops.fromArray(turns, [tokens, k], { dtype: 'int64', device: probabilities.device });
  return [ops.gather(probabilities, 1, experts), experts];
}

/** `[E]` of the type of `like`: how many of `experts` `[T, k]` are each. */
function loadsOf(experts: Tensor, count: number, like: Tensor): Tensor {
  const isEach = ops.eq(ops.reshape(experts, [-1, 1]), ops.arange(0, count, { device: like.device }));
  return ops.sum(ops.to(isEach, { dtype: like.dtype }), [0]);
}
