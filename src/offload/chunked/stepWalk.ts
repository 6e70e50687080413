/** A training step on its way through the plan's moments: units come and go, gradients are put where the plan says. */
import { TierraError } from '../../core/errors.ts';
import type { ChunkId, PlannedMoment } from '../../memory/index.ts';
import type { Pass, Unit } from '../../nn/index.ts';
import { type Dtype, dtypeBytes, type Tensor } from '../../tensor/index.ts';
import type { GradientNorms } from '../norms.ts';
import { stateDtype } from '../resident/entries.ts';
import type { TierUse } from '../store.ts';
import { departure } from './explained.ts';
import { takeNorms, takeSummedNorms } from './gradientNorms.ts';
import type { Planned } from './planned.ts';
import { accumulates } from './walker.ts';

export class StepWalk {
  readonly #norms: GradientNorms;
  readonly #dtype: Dtype;
  readonly #useNow: () => TierUse[];
  /** Index of the next moment while a step is under way; -1 between steps. */
  #moment = -1;
  #current: PlannedMoment | null = null;
  /** Vertical order: chunks whose sum has its first micro-batch in this moment. */
  readonly #begun = new Set<ChunkId>();

  constructor(norms: GradientNorms, dtype: Dtype, useNow: () => TierUse[]) {
    this.#norms = norms;
    this.#dtype = dtype;
    this.#useNow = useNow;
  }

  get isUnderWay(): boolean {
    return this.#moment >= 0;
  }

  /** Inside a unit of the step. */
  get isInside(): boolean {
    return this.#current !== null;
  }

  begin(): void {
    this.#moment = 0;
  }

  /** Also in the middle of a step. */
  end(): void {
    this.#moment = -1;
    this.#current = null;
    this.#begun.clear();
  }

  /** The unit's parameters are where the plan says, or `E_UNSUPPORTED`: the step departs from it. */
  enter({ map, plan, walker, views, recorder }: Planned, unit: Unit, pass: Pass): void {
    const moment = plan.moments[this.#moment]!;
    if (moment.unit !== map.layoutUnit.get(unit.index)! || moment.pass !== pass) {
      throw departure(unit, pass, moment, map);
    }
    walker.enter(moment.index);
    recorder.beginCompute();
    for (const { chunk, slot } of moment.parameters) views.bind(chunk, slot);
    this.#current = moment;
  }

  leave(planned: Planned, unit: Unit, pass: Pass): void {
    const { walker, views, recorder } = planned;
    const moment = this.#current!;
    for (const { chunk } of moment.parameters) views.unbind(chunk);
    if (this.#begun.size > 0) takeSummedNorms(this.#norms, planned, moment, this.#dtype);
    this.#begun.clear();
    const { microBatch } = moment;
    recorder.endCompute(
      () => `${pass} ${unit.name}${microBatch > 0 ? ` of micro-batch ${microBatch + 1}` : ''}`,
      this.#useNow,
    );
    walker.leave(moment.index);
    this.#moment = moment.index + 1;
    this.#current = null;
  }

  /** Takes the gradients, whose ownership passes over. */
  takeGradients(planned: Planned, unit: Unit, gradients: readonly (Tensor | null)[]): void {
    const { map, plan, views } = planned;
    const trainable = unit.parameters.filter((parameter) => parameter.trainable);
    const byParameter = new Map(trainable.map((parameter, index) => [parameter, gradients[index] ?? null]));
    const moment = this.#current;
    if (moment === null) throw new TierraError('E_STATE', `gradients of ${unit.name} arrive outside a training step`);
    for (const expected of moment.gradients) {
      const chunk = map.layout.chunks[expected.chunk]!;
      const isSum = expected.bytes !== chunk.elements * dtypeBytes(this.#dtype);
      // In the vertical order the sum is made here, one micro-batch after another.
      const add = expected.add || this.#begun.has(expected.chunk);
      const { slot } = expected;
      const type = isSum ? stateDtype(this.#dtype) : this.#dtype;
      views.takeGradients(chunk, { slot, add }, type, (parameter) => byParameter.get(parameter) ?? null);
      if (moment.microBatch < 0) this.#begun.add(expected.chunk);
    }
    if (!accumulates(plan)) takeNorms(this.#norms, planned, moment, byParameter);
    for (const gradient of gradients) gradient?.dispose();
  }

  /** Throws `E_STATE` unless every unit has had its turn; returns the index of the `norm` moment. */
  atNorm({ plan }: Planned): number {
    const norm = plan.moments.findIndex(({ pass }) => pass === 'norm');
    if (this.#moment === norm) return norm;
    throw new TierraError('E_STATE', `the step ends at moment ${this.#moment} of ${norm}: units are missing from it`);
  }
}
