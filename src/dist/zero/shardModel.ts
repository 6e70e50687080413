/**
 * The part of a model that one rank keeps, as a model of its own: the units are the same, their parameters are this
 * rank's shards of the flats. Whoever keeps parameters keeps shards like any others.
 */
import { TierraError } from '../../core/errors.ts';
import { init, Module, Parameter, Unit, type ValueSource } from '../../nn/index.ts';
import { type Dtype, ops, type Tensor } from '../../tensor/index.ts';
import { type Flat, type Slice, shardElements, slicesOf } from './flats.ts';

/** Which of the ranks that hold a flat this is. */
export interface ShardPlace {
  readonly rank: number;
  readonly size: number;
}

export class ShardModel extends Module<never, never> {
  readonly flats: readonly Flat[];
  /** Parallel to the units of the whole model, with their names and indices. */
  readonly units: readonly Unit[];
  readonly #places: readonly ShardPlace[];
  readonly #shards: ReadonlyMap<Flat, Parameter>;
  readonly #flatOf: ReadonlyMap<Parameter, Flat>;
  readonly #flatsOfUnit: ReadonlyMap<number, readonly Flat[]>;

  /** `places` by `Flat.spread`. */
  constructor(units: readonly Unit[], flats: readonly Flat[], places: readonly ShardPlace[]) {
    super();
    this.flats = flats;
    this.#places = places;
    this.#shards = new Map(flats.map((flat) => [flat, shardOf(flat, this.placeOf(flat).size)]));
    this.#flatOf = new Map(Array.from(this.#shards, ([flat, shard]) => [shard, flat]));
    this.#flatsOfUnit = new Map(units.map(({ index }) => [index, flats.filter((flat) => flat.units.includes(index))]));
    this.units = units.map((unit) => this.#shardUnit(unit));
  }

  #shardUnit({ module, index, name, gradientsOnly }: Unit): Unit {
    const unit = new Unit(module, {});
    unit.index = index;
    unit.gradientsOnly = gradientsOnly;
    unit.name = name;
    unit.parameters = this.flatsOf(index).map((flat) => this.shard(flat));
    return unit;
  }

  placeOf({ spread }: Flat): ShardPlace {
    return this.#places[spread]!;
  }

  /** This rank's part of the flat. */
  slices(flat: Flat): Slice[] {
    const { rank, size } = this.placeOf(flat);
    return slicesOf(flat, rank, size);
  }

  shard(flat: Flat): Parameter {
    return this.#shards.get(flat)!;
  }

  flatOf(shard: Parameter): Flat {
    return this.#flatOf.get(shard)!;
  }

  /** What a unit uses, in the order of its shard parameters. */
  flatsOf(unit: number): readonly Flat[] {
    return this.#flatsOfUnit.get(unit)!;
  }

  override *allParameterPaths(): Generator<readonly [string, Parameter]> {
    for (const [flat, shard] of this.#shards) yield [`${flat.name} of rank ${this.placeOf(flat).rank}`, shard];
  }

  override forward(): never {
    throw new TierraError('E_INTERNAL', 'a model of shards is kept, not computed');
  }
}

function shardOf(flat: Flat, ranks: number): Parameter {
  const shard = new Parameter([shardElements(flat, ranks)], init.zeros);
  shard.trainable = flat.trainable;
  return shard;
}

/** First values of shards, cut from those of whole parameters: one of them in memory at a time. */
export function shardValues(model: ShardModel, values: ValueSource, wide: Dtype): ValueSource {
  return (shard) => {
    const flat = model.flatOf(shard);
    const filled = ops.zeros([shard.elements], { dtype: wide });
    for (const { parameter, from, elements, offset } of model.slices(flat)) {
      const value: Tensor = values(parameter);
      const part = ops.slice(ops.reshape(value, [-1]), 0, from, from + elements);
      ops.copyInto(ops.slice(filled, 0, offset, offset + elements), part);
      value.dispose();
    }
    return filled;
  };
}
