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

/** Norms of gradients that were not measured on the way. They lie where the update finds them. */
export function takeNormsAtRest(
  norms: GradientNorms,
  { plan, map, walker, homes, tiers, views }: Planned,
  dtype: Dtype,
): void {
  const summed = accumulates(plan);
  const rest = stateDtype(dtype);
  const isKnown = (chunk: ChunkId): boolean => norms.has(map.parameters[map.layout.chunks[chunk]!.parameters[0]!.id]!);
  const pending = plan.chunks.filter(
    ({ chunk, gradients, update }) =>
      update !== 'none' && (gradients.length > 1 || ((summed || update === 'device') && !isKnown(chunk))),
  );
  const chunks = new Set(pending.map(({ chunk }) => chunk));
  walker.waitFor(
    plan.tickets.filter(({ chunk, kind, cause }) => kind === 'gradient' && cause !== 'park' && chunks.has(chunk)),
    'norm',
  );
  walker.beginCompute();
  const partsOf = ({ chunk: id, gradients }: ChunkPlan, index: number): Tensor[] =>
    gradients.map((place) =>
      views.tensorIn(tiers.memory(homes.slotOf(id, place)), map.layout.chunks[id]!, index, summed ? rest : dtype),
    );
  const each = pending.flatMap((chunk) =>
    map.layout.chunks[chunk.chunk]!.parameters.map((placed, index) => {
      return { chunk, index, parameter: map.parameters[placed.id]! };
    }),
  );
  // Together by where they lie: one call takes tensors of one device.
  const single = each.filter(({ chunk }) => chunk.gradients.length === 1);
  for (const tier of new Set(
    single.map(({ chunk }) => tiers.slot(homes.slotOf(chunk.chunk, chunk.gradients[0]!)).tier),
  )) {
    const here = single.filter(({ chunk }) => tiers.slot(homes.slotOf(chunk.chunk, chunk.gradients[0]!)).tier === tier);
    scope(() =>
      noGrad(() =>
        norms.take(
          here.map(({ parameter }) => parameter),
          here.map(({ chunk, index }) => partsOf(chunk, index)[0]!),
        ),
      ),
    );
  }
  for (const { chunk, index, parameter } of each) {
    if (chunk.gradients.length === 1) continue;
    scope(() => noGrad(() => norms.take([parameter], [sumOfUses(partsOf(chunk, index).reverse(), rest)])));
  }
}

/** The gradient of a parameter from those of its uses, latest use first, in the state's type where there are several. */
export function sumOfUses(parts: readonly Tensor[], wide: Dtype): Tensor {
  const [first, ...others] = parts;
  if (others.length === 0) return first!;
  const total = first!.dtype === wide ? ops.clone(first!) : ops.to(first!, { dtype: wide });
  for (const other of others) ops.addInPlace(total, other);
  return total;
}
