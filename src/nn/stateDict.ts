import { TierraError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { noGrad, ops, type Tensor } from '../tensor/index.ts';
import type { AnyModule } from './module.ts';

/** Placed parameters by name, tied ones once at their first path, without those that other ranks have. The tensors are the model's own: not copies. */
export function stateDict(model: AnyModule): Map<string, Tensor> {
  const here = Array.from(model.namedParameters()).filter(([, { isHere }]) => isHere);
  return new Map(here.map(([name, parameter]) => [name, parameter.tensor]));
}

/**
 * Copies `values` (any floating type, any device) into the model's placed parameters. Names and shapes must be exactly
 * the model's; everything is checked before anything is copied. Throws `E_CHECKPOINT` that lists what does not fit, each
 * with the nearest name.
 */
export function loadStateDict(model: AnyModule, values: ReadonlyMap<string, Tensor>): void {
  const own = stateDict(model);
  const problems = [...missing(own, values), ...unexpected(own, values), ...misshapen(own, values)];
  if (problems.length > 0) {
    throw new TierraError('E_CHECKPOINT', `the values are not of this model:\n${listed(problems)}`, {
      hint: 'Build the model that the values were saved from, or rename them.',
      details: { problems },
    });
  }
  noGrad(() => {
    for (const [name, tensor] of own) ops.copyInto(tensor, values.get(name)!);
  });
}

type Named = ReadonlyMap<string, Tensor>;

function missing(own: Named, values: Named): string[] {
  const unused = [...values.keys()].filter((name) => !own.has(name));
  return [...own.keys()]
    .filter((name) => !values.has(name))
    .map((name) => `there is no ${name}${suggestion(name, unused)}`);
}

function unexpected(own: Named, values: Named): string[] {
  const unfilled = [...own.keys()].filter((name) => !values.has(name));
  return [...values.keys()]
    .filter((name) => !own.has(name))
    .map((name) => `the model has no ${name}${suggestion(name, unfilled)}`);
}

function misshapen(own: Named, values: Named): string[] {
  return [...own].flatMap(([name, tensor]) => {
    const shape = values.get(name)?.shape;
    if (shape === undefined || shape.join() === tensor.shape.join()) return [];
    return [`${name} has shape [${shape}], the model needs [${tensor.shape}]`];
  });
}

function suggestion(name: string, candidates: readonly string[]): string {
  const near = nearest(name, candidates);
  return near === undefined ? '' : ` (nearest: ${near})`;
}

const shownProblems = 10;

function listed(problems: readonly string[]): string {
  const more = problems.length - shownProblems;
  const lines = problems.slice(0, shownProblems).map((problem) => `  ${problem}`);
  return [...lines, ...(more > 0 ? [`  and ${more} more`] : [])].join('\n');
}
