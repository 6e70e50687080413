import { type AnyModule, MoeBlock, type Parameter } from '../../nn/index.ts';
import type { SpreadExperts } from './spreadExperts.ts';

function mixtures(model: AnyModule): MoeBlock[] {
  return Array.from(model.namedModules(), ([, module]) => module as unknown).filter(
    (module) => module instanceof MoeBlock,
  );
}

/** Leaves every mixture's experts to the ranks that they belong to. Before parameters are placed. Returns the number of mixtures. */
export function spreadModel(model: AnyModule, exchange: SpreadExperts): number {
  const found = mixtures(model);
  for (const mixture of found) mixture.spread(exchange);
  return found.length;
}

/**
 * Parameters of experts here: no other rank of the expert group has them. Their gradients are summed over the ranks that hold the
 * same experts, all others' over all ranks with tokens of their own; both are divided by the number of the latter.
 */
export function expertParameters(model: AnyModule): Set<Parameter> {
  const spread = mixtures(model).filter(({ exchange }) => exchange !== null);
  return new Set(spread.flatMap(({ expertsHere }) => expertsHere.flatMap((expert) => expert.parameters())));
}
