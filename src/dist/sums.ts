/** One norm, one clip factor and one decision about infinite gradients for ranks that hold different parts of a model. */
import type { Parameter } from '../nn/index.ts';
import type { SumsAgreement } from '../offload/norms.ts';
import { noGrad, ops, scope } from '../tensor/index.ts';
import type { Group } from './group.ts';

export interface AgreeOptions {
  /** Ranks that together hold the model, each part once or several times. */
  readonly group: Group;
  readonly device: string;
  /** Every trainable parameter of the whole model, in parameter order: the same list on all ranks. */
  readonly parameters: readonly Parameter[];
  /** Whether this rank's sum counts: of copies on several ranks one does, of parts all do. */
  readonly counts: (parameter: Parameter) => boolean;
}

/** Every rank learns all sums, and adds them in parameter order as a process by itself would. */
export function agreeOver({ group, device, parameters, counts }: AgreeOptions): SumsAgreement {
  return (own) => {
    const found = new Map(own.map((each) => [each.parameter, each]));
    const values = new Float64Array(2 * parameters.length);
    for (const [index, parameter] of parameters.entries()) {
      const known = found.get(parameter);
      if (known !== undefined && counts(parameter)) values.set([known.sum, known.nonFinite], 2 * index);
    }
    const sums = scope(() =>
      noGrad(() => {
        const tensor = ops.fromArray(values, [values.length], { dtype: 'float64', device });
        group.allReduce(tensor).wait();
        return ops.toArray(tensor);
      }),
    );
    return parameters.map((parameter, index) => ({
      parameter,
      sum: sums[2 * index]!,
      nonFinite: sums[2 * index + 1]!,
    }));
  };
}
