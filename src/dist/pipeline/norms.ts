import type { Parameter } from '../../nn/index.ts';
import { type GlobalNorm, globalNorm } from '../../offload/clipping.ts';
import { StepNorms } from '../../offload/norms.ts';
import { noGrad, ops, scope } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import type { Ownership } from './shared.ts';

export interface PipelineNormsOptions {
  readonly threads: number;
  readonly group: Group;
  readonly device: string;
  readonly ownership: Ownership;
}

/**
 * One norm, one clip factor and one decision about infinite gradients for all stages. Every rank contributes the sums of the parameters that
 * it owns, copies on other ranks none; each then adds all of them in parameter order, as a process by itself would.
 */
export class PipelineNorms extends StepNorms {
  readonly #options: PipelineNormsOptions;

  constructor(options: PipelineNormsOptions) {
    super(options.threads);
    this.#options = options;
  }

  override total(parameters: readonly Parameter[], clipNorm: number | null, lossScale: number): GlobalNorm {
    const { group, device, ownership } = this.#options;
    const { parameters: all, ownerOf } = ownership;
    const own = new Map(this.sums(parameters).map((each) => [each.parameter, each]));
    const values = new Float64Array(2 * all.length);
    for (const [index, parameter] of all.entries()) {
      const found = own.get(parameter);
      if (found === undefined || ownerOf.get(parameter) !== group.rank) continue;
      values.set([found.sum, found.nonFinite], 2 * index);
    }
    // Each number is zero on all ranks but one: their sum is exact in any order.
    const sums = scope(() =>
      noGrad(() => {
        const tensor = ops.fromArray(values, [values.length], { dtype: 'float64', device });
        group.allReduce(tensor).wait();
        return ops.toArray(tensor);
      }),
    );
    return globalNorm(
      all.map((parameter, index) => ({ parameter, sum: sums[2 * index]!, nonFinite: sums[2 * index + 1]! })),
      clipNorm,
      lossScale,
    );
  }
}
