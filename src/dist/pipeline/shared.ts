/**
 * Parameters that stages on several ranks use, such as an embedding that is also the head. Every such rank keeps a copy
 * with its own optimizer state; all begin with the same values and get the same gradient, so they stay equal bit for bit.
 */
import type { AnyModule, Parameter, Unit } from '../../nn/index.ts';
import { type Dtype, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { type PipelineLayout, rankOfUnit } from './layout.ts';
import { Messages } from './messages.ts';

export interface SharedParameter {
  readonly parameter: Parameter;
  /** Ranks that hold a copy, in the order of their first use of it; the first is its owner. */
  readonly ranks: readonly number[];
}

/** Which rank answers for each parameter, and which parameters lie on several. */
export interface Ownership {
  /** Every trainable parameter of the whole model, in parameter order. */
  readonly parameters: readonly Parameter[];
  /** Of frozen ones too. */
  readonly ownerOf: ReadonlyMap<Parameter, number>;
  readonly shared: readonly SharedParameter[];
}

export function ownership(model: AnyModule, units: readonly Unit[], layout: PipelineLayout): Ownership {
  const ranksOf = new Map<Parameter, Set<number>>();
  for (const [index, unit] of units.entries()) {
    for (const parameter of unit.parameters) {
      ranksOf.set(parameter, (ranksOf.get(parameter) ?? new Set()).add(rankOfUnit(index, layout)));
    }
  }
  // Those in no unit are on ranks outside of this pipeline.
  const parameters = model.parameters().filter((parameter) => parameter.trainable && ranksOf.has(parameter));
  return {
    parameters,
    ownerOf: new Map(Array.from(ranksOf, ([parameter, [first]]) => [parameter, first!])),
    shared: parameters
      .map((parameter) => ({ parameter, ranks: [...ranksOf.get(parameter)!] }))
      .filter(({ ranks }) => ranks.length > 1),
  };
}

/** A store whose gradients can be read and replaced between the last backward and the update. */
export interface GradientAccess {
  /** The gradient of this step, or null; not to be disposed. */
  gradient(parameter: Parameter): Tensor | null;
  /** `gradient` becomes the parameter's gradient of this step; ownership passes over. */
  setGradient(parameter: Parameter, gradient: Tensor): void;
}

/**
 * Gives every copy the sum over all of them. The owner adds, latest use first, as backward without a pipeline would, and
 * sends the sum back: for an embedding tied to a head the bits are the same.
 */
export function sumShared(
  { shared }: Ownership,
  store: GradientAccess,
  group: Group,
  device: string,
  wide: Dtype,
): void {
  const messages = new Messages(group, device);
  for (const { parameter, ranks } of shared) {
    if (!ranks.includes(group.rank)) continue;
    const form = { dtype: wide, shape: parameter.shape };
    const [owner, ...others] = ranks as [number, ...number[]];
    if (group.rank !== owner) {
      scope(() => messages.send(wideGradient(store, parameter, wide, device), owner));
      const { tensor, work } = messages.receive(form, owner);
      work.wait();
      store.setGradient(parameter, tensor);
      continue;
    }
    const arrived = [...others].reverse().map((rank) => messages.receive(form, rank));
    const sum = noGrad(() =>
      scope(() => {
        for (const { work } of arrived) work.wait();
        const [first, ...more] = [...arrived.map(({ tensor }) => tensor), wideGradient(store, parameter, wide, device)];
        const total = ops.clone(first!);
        for (const addend of more) ops.addInPlace(total, addend);
        return total;
      }),
    ).keep();
    for (const { tensor } of arrived) tensor.dispose();
    for (const rank of others) messages.send(sum, rank);
    store.setGradient(parameter, sum);
  }
  messages.settle();
}

function wideGradient(store: GradientAccess, parameter: Parameter, wide: Dtype, device: string): Tensor {
  return noGrad(() => {
    const own = store.gradient(parameter);
    return own === null ? ops.zeros(parameter.shape, { dtype: wide, device }) : ops.to(own, { dtype: wide });
  });
}
