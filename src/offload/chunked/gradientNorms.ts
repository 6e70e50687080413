/** Where in a step each chunk's gradient is whole, and so is measured. */
import type { ChunkId, ChunkPlan, PlannedMoment } from '../../memory/index.ts';
import type { Parameter } from '../../nn/index.ts';
import { type Dtype, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { GradientNorms } from '../norms.ts';
import { stateDtype } from '../resident/entries.ts';
import type { Planned } from './planned.ts';
import { accumulates } from './walker.ts';

/**
 * Whole gradients that leave the compute device are measured on the way. Those that stay there are measured together at the end, which
 * is one call instead of one per unit; those of several parts, when all are there.
 */
export function takeNorms(
  norms: GradientNorms,
  { map, plan }: Planned,
  moment: PlannedMoment,
  gradients: ReadonlyMap<Parameter, Tensor | null>,
): void {
  const parameters = moment.gradients
    .filter(({ chunk }) => plan.chunks[chunk]!.gradients.length <= 1 && plan.chunks[chunk]!.update !== 'device')
    .flatMap(({ chunk }) => map.layout.chunks[chunk]!.parameters.map(({ id }) => map.parameters[id]!))
    .filter((parameter) => gradients.get(parameter) != null);
  scope(() =>
    norms.take(
      parameters,
      parameters.map((parameter) => ops.contiguous(gradients.get(parameter)!)),
    ),
  );
}

/** Vertical order: the moment's sums are complete and still on the compute device. */
export function takeSummedNorms(
  norms: GradientNorms,
  { map, plan, tiers, views }: Planned,
  moment: PlannedMoment,
  dtype: Dtype,
): void {
  for (const { chunk: id, slot } of moment.gradients) {
    if (plan.chunks[id]!.gradients.length > 1) continue;
    const chunk = map.layout.chunks[id]!;
    const type = stateDtype(dtype);
    scope(() =>
      norms.take(
        chunk.parameters.map((placed) => map.parameters[placed.id]!),
        [...chunk.parameters.keys()].map((index) => views.tensorIn(tiers.memory(slot), chunk, index, type)),
      ),
    );
  }
}

/** Waits for the gradients that were not measured on the way, wherever they rest, and says whose they are. */
export function awaitUnmeasured(norms: GradientNorms, planned: Planned): readonly ChunkPlan[] {
  const found = unmeasured(norms, planned);
  const chunks = new Set(found.map(({ chunk }) => chunk));
  planned.walker.waitFor(
    planned.plan.tickets.filter(
      ({ chunk, kind, cause }) => kind === 'gradient' && cause !== 'park' && chunks.has(chunk),
    ),
    'norm',
  );
  return found;
}

/** Norms of `chunks`: of those `atHand` on the compute device in one call, of the others where the update finds them. */
export function takeUnmeasured(
  norms: GradientNorms,
  { plan, map, homes, tiers, views }: Planned,
  dtype: Dtype,
  chunks: readonly ChunkPlan[],
  atHand: readonly AtHand[],
): void {
  const rest = stateDtype(dtype);
  const type = accumulates(plan) ? rest : dtype;
  const elsewhere = chunks.filter(({ update }) => update !== 'device');
  const unknown = atHand.filter(({ parameter }) => !norms.has(parameter));
  scope(() =>
    noGrad(() =>
      norms.take(
        unknown.map(({ parameter }) => parameter),
        unknown.map(({ gradient }) => gradient),
      ),
    ),
  );
  for (const { chunk: id, gradients } of elsewhere) {
    const chunk = map.layout.chunks[id]!;
    for (const [index, placed] of chunk.parameters.entries()) {
      scope(() =>
        noGrad(() => {
          const parts = gradients.map((place) =>
            views.tensorIn(tiers.memory(homes.slotOf(id, place)), chunk, index, type),
          );
          norms.take([map.parameters[placed.id]!], [sumOfUses(parts.reverse(), rest)]);
        }),
      );
    }
  }
}

/** A whole gradient on the compute device. */
export interface AtHand {
  readonly parameter: Parameter;
  readonly gradient: Tensor;
}

/** Chunks whose gradients have several parts, are sums, or stay on the compute device. */
function unmeasured(norms: GradientNorms, { plan, map }: Planned): readonly ChunkPlan[] {
  const isKnown = (chunk: ChunkId): boolean => norms.has(map.parameters[map.layout.chunks[chunk]!.parameters[0]!.id]!);
  const areSums = accumulates(plan);
  const isLate = ({ gradients, update }: ChunkPlan): boolean => gradients.length > 1 || areSums || update === 'device';
  return plan.chunks.filter((chunk) => chunk.update !== 'none' && isLate(chunk) && !isKnown(chunk.chunk));
}

/** The gradient of a parameter from those of its uses, latest use first, in the state's type where there are several. */
export function sumOfUses(parts: readonly Tensor[], wide: Dtype): Tensor {
  const [first, ...others] = parts;
  if (others.length === 0) return first!;
  const total = first!.dtype === wide ? ops.clone(first!) : ops.to(first!, { dtype: wide });
  for (const other of others) ops.addInPlace(total, other);
  return total;
}
