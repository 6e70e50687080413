/**
 * Parameters that stages on several ranks share, where a rank's store takes gradients only within a unit's moment: on tiers,
 * or as shards. Every use's gradient is kept aside; when all micro-batches are through, the ranks add them up, and the store
 * gets the sum in the moment of a unit that is made for it alone, behind all others. It gets nothing in the moments of the uses themselves.
 */
import { type AnyModule, type Parameter, Unit, type UnitHost } from '../../nn/index.ts';
import { type Dtype, dtypeBytes, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import type { PipelineLayout } from './layout.ts';
import { type GradientAccess, type Ownership, sumShared } from './shared.ts';

/** The unit of this rank's shared parameters, behind the model's units; null where it holds none. */
export function sharedUnitOf(
  model: AnyModule,
  units: readonly Unit[],
  { shared }: Ownership,
  rank: number,
): Unit | null {
  const own = shared.filter(({ ranks }) => ranks.includes(rank)).map(({ parameter }) => parameter);
  if (own.length === 0) return null;
  const unit = new Unit(model, {});
  unit.index = units.length;
  unit.name = 'shared parameters';
  unit.parameters = own;
  unit.gradientsOnly = true;
  return unit;
}

export interface SharedOptions {
  readonly unit: Unit;
  readonly ownership: Ownership;
  readonly group: Group;
  readonly device: string;
  /** Of sums. */
  readonly wide: Dtype;
}

interface Use {
  readonly unit: number;
  readonly use: number;
  readonly sum: Tensor;
}

export class SharedGradients implements GradientAccess {
  readonly #options: SharedOptions;
  readonly #uses = new Map<Parameter, Use[]>();
  readonly #totals = new Map<Parameter, Tensor>();

  constructor(options: SharedOptions) {
    this.#options = options;
  }

  get unit(): Unit {
    return this.#options.unit;
  }

  /** Bytes that sums take on the compute device: one for every use, the total of this rank, one that arrives. */
  bytes(layout: PipelineLayout): number {
    const { unit, wide, group } = this.#options;
    const uses = layout.stagesOf[group.rank]!.length + 2;
    return unit.parameters.reduce((sum, { elements }) => sum + elements, 0) * uses * dtypeBytes(wide);
  }

  /** `host`, from which the shared parameters' gradients are kept back. */
  around(host: UnitHost): UnitHost {
    return {
      acquire: (unit, pass) => host.acquire(unit, pass),
      release: (unit, pass) => host.release(unit, pass),
      gradientsReady: (unit, use, gradients) => host.gradientsReady(unit, use, this.#keptBack(unit, use, gradients)),
      park: (input) => host.park(input),
      unpark: (input) => host.unpark(input),
    };
  }

  #keptBack(unit: Unit, use: number, gradients: readonly (Tensor | null)[]): (Tensor | null)[] {
    const trainable = unit.parameters.filter((parameter) => parameter.trainable);
    return gradients.map((gradient, index) => {
      const parameter = trainable[index]!;
      if (gradient === null || !this.unit.parameters.includes(parameter)) return gradient;
      this.#add(parameter, unit.index, use, gradient);
      return null;
    });
  }

  /** Micro-batches ascend, so the sum of each use has the order that one process gives it. */
  #add(parameter: Parameter, unit: number, use: number, gradient: Tensor): void {
    const { wide } = this.#options;
    const uses = this.#uses.get(parameter) ?? [];
    this.#uses.set(parameter, uses);
    const known = uses.find((each) => each.unit === unit && each.use === use);
    noGrad(() => {
      if (known !== undefined) ops.addInPlace(known.sum, gradient);
      else {
        const sum = scope(() =>
          gradient.dtype === wide ? ops.clone(gradient) : ops.to(gradient, { dtype: wide }),
        ).keep();
        uses.push({ unit, use, sum });
      }
    });
    gradient.dispose();
  }

  /** This rank's part of the sum: its uses, latest first. */
  gradient(parameter: Parameter): Tensor | null {
    const known = this.#totals.get(parameter);
    if (known !== undefined) return known;
    const uses = [...(this.#uses.get(parameter) ?? [])].sort((a, b) => b.unit - a.unit || b.use - a.use);
    const [first, ...others] = uses;
    if (first === undefined) return null;
    noGrad(() => {
      for (const { sum } of others) ops.addInPlace(first.sum, sum);
    });
    for (const { sum } of others) sum.dispose();
    this.#uses.delete(parameter);
    this.#totals.set(parameter, first.sum);
    return first.sum;
  }

  setGradient(parameter: Parameter, gradient: Tensor): void {
    this.gradient(parameter)?.dispose();
    this.#totals.set(parameter, gradient);
  }

  /** All ranks add up, and `host` gets the sums: with the last of `microBatches` moments, nothing in those before. */
  handOver(host: UnitHost, microBatches: number): void {
    const { unit, ownership, group, device, wide } = this.#options;
    sumShared(ownership, this, group, device, wide);
    for (let microBatch = 0; microBatch < microBatches; microBatch++) {
      const isLast = microBatch === microBatches - 1;
      const take = (parameter: Parameter): Tensor | null => {
        const total = isLast ? this.gradient(parameter) : null;
        if (total !== null) this.#totals.delete(parameter);
        return total;
      };
      host.acquire(unit, 'backward');
      host.gradientsReady(unit, 0, unit.parameters.map(take));
      host.release(unit, 'backward');
    }
  }

  /** What `host` is shown of it before a plan is made. */
  watch(host: UnitHost): void {
    const { unit, device, wide } = this.#options;
    host.acquire(unit, 'backward');
    const zeros = ({ shape }: Parameter): Tensor => noGrad(() => ops.zeros(shape, { dtype: wide, device })).keep();
    host.gradientsReady(unit, 0, unit.parameters.map(zeros));
    host.release(unit, 'backward');
  }

  /** Drops what an unfinished step has left. */
  clear(): void {
    for (const uses of this.#uses.values()) for (const { sum } of uses) sum.dispose();
    for (const total of this.#totals.values()) total.dispose();
    this.#uses.clear();
    this.#totals.clear();
  }
}
