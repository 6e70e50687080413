/**
 * The global norm of gradients that are spread over ranks, in the canonical order: every rank measures the norm blocks it
 * holds, all ranks learn all block sums, and each adds them up per parameter and in parameter order. The bits are those of
 * one process that holds the whole gradients.
 */
import { native } from '../../native/load.ts';
import type { Parameter } from '../../nn/index.ts';
import { type GlobalNorm, globalNorm } from '../../offload/clipping.ts';
import type { GradientNorms, SumsAgreement } from '../../offload/norms.ts';
import { adopt, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { type Flat, pageElements, type Slice, slicesOf } from './flats.ts';
import type { ShardModel } from './shardModel.ts';

export interface ShardNormOptions {
  readonly shards: ShardModel;
  /** The ranks that hold the shards of one copy, by `Flat.spread`. */
  readonly groups: readonly Group[];
  /** The whole model's trainable parameters, in parameter order. */
  readonly parameters: readonly Parameter[];
  readonly device: string;
  readonly threads: number;
  /** Where ranks outside of the groups hold other parts of the model. */
  readonly agree?: SumsAgreement;
}

const blocksIn = ({ elements }: Slice): number => Math.ceil(elements / pageElements);

/** Doubles that one rank tells of a slice: every block's sum, then how many elements are infinite or NaN. */
const numbersIn = (slice: Slice): number => blocksIn(slice) + 1;

export class ShardNorms implements GradientNorms {
  readonly #options: ShardNormOptions;
  /** Trainable flats: their order and that of slices in them is the order of the message. */
  readonly #flats: readonly Flat[];
  /** Doubles in each rank's message to a group: those of the rank that has most. */
  readonly #lengths: readonly number[];
  readonly #taken = new Map<Flat, Tensor>();

  constructor(options: ShardNormOptions) {
    const { shards, groups } = options;
    this.#options = options;
    this.#flats = shards.flats.filter(({ trainable }) => trainable);
    this.#lengths = groups.map(({ size }, spread) => {
      const lengths = Array.from({ length: size }, (_, rank) =>
        this.#slices(spread, rank).reduce((sum, slice) => sum + numbersIn(slice), 0),
      );
      return Math.max(0, ...lengths);
    });
  }

  #flatsOf(spread: number): readonly Flat[] {
    return this.#flats.filter((flat) => flat.spread === spread);
  }

  #slices(spread: number, rank: number): Slice[] {
    return this.#flatsOf(spread).flatMap((flat) => slicesOf(flat, rank, this.#options.groups[spread]!.size));
  }

  begin(): void {
    for (const result of this.#taken.values()) result.dispose();
    this.#taken.clear();
  }

  take(parameters: readonly Parameter[], totals: readonly Tensor[]): void {
    const { shards, threads } = this.#options;
    for (const [index, shard] of parameters.entries()) {
      const flat = shards.flatOf(shard);
      const result = scope(() =>
        noGrad(() => {
          const whole = ops.view(totals[index]!, [-1]);
          const parts = shards
            .slices(flat)
            .map(({ offset, elements }) => ops.slice(whole, 0, offset, offset + elements));
          const handles = parts.map(({ handle }) => handle);
          return adopt(native().sumSquareBlocksStart(handles, threads));
        }),
      );
      this.#taken.get(flat)?.dispose();
      this.#taken.set(flat, result.keep());
    }
  }

  has(shard: Parameter): boolean {
    return this.#taken.has(this.#options.shards.flatOf(shard));
  }

  total(_shards: readonly Parameter[], clipNorm: number | null, lossScale: number): GlobalNorm {
    const found = new Map<Parameter, { sum: number; nonFinite: number }>();
    for (const spread of this.#options.groups.keys()) this.#addSums(spread, this.#exchange(spread), found);
    this.begin();
    const sums = this.#options.parameters.map((parameter) => ({ parameter, ...found.get(parameter)! }));
    return globalNorm(this.#options.agree?.(sums) ?? sums, clipNorm, lossScale);
  }

  /** This rank's numbers for a group, slice after slice; a flat without a gradient counts as zero. */
  #message(spread: number): Float64Array {
    const { shards } = this.#options;
    const message = new Float64Array(this.#lengths[spread]!);
    let at = 0;
    for (const flat of this.#flatsOf(spread)) {
      const slices = shards.slices(flat);
      const result = this.#taken.get(flat);
      if (result === undefined) {
        at += slices.reduce((sum, slice) => sum + numbersIn(slice), 0);
        continue;
      }
      const bytes = noGrad(() => scope(() => ops.toBytes(result)));
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const blocks = slices.reduce((sum, slice) => sum + blocksIn(slice), 0);
      let block = 0;
      for (const slice of slices) {
        let invalid = 0;
        for (const end = block + blocksIn(slice); block < end; block++) {
          message[at++] = view.getFloat64(8 * block, true);
          invalid += view.getUint32(8 * blocks + 4 * block, true);
        }
        message[at++] = invalid;
      }
    }
    return message;
  }

  /** All ranks' messages, one after another. */
  #exchange(spread: number): Float64Array {
    const { groups, device } = this.#options;
    const group = groups[spread]!;
    const message = this.#message(spread);
    if (message.length === 0) return message;
    return scope(() =>
      noGrad(() => {
        const own = ops.fromArray(message, [message.length], { dtype: 'float64', device });
        const all = ops.empty([message.length * group.size], { dtype: 'float64', device });
        group.allGather(all, own).wait();
        return Float64Array.from(ops.toArray(all));
      }),
    );
  }

  /** Block sums added up ascending, as one process would. */
  #addSums(spread: number, all: Float64Array, found: Map<Parameter, { sum: number; nonFinite: number }>): void {
    for (const flat of this.#flatsOf(spread))
      for (const { parameter } of flat.parameters) found.set(parameter, { sum: 0, nonFinite: 0 });
    for (let rank = 0; rank < this.#options.groups[spread]!.size; rank++) {
      // A parameter's slices ascend with the rank, so its blocks are met in their order.
      let at = rank * this.#lengths[spread]!;
      for (const slice of this.#slices(spread, rank)) {
        const entry = found.get(slice.parameter)!;
        for (const end = at + blocksIn(slice); at < end; at++) entry.sum += all[at]!;
        entry.nonFinite += all[at++]!;
      }
    }
  }
}
