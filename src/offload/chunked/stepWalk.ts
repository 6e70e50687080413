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
    // Of a step that broke off before anyone asked for its norm.
    this.#norms.begin();
  }

  /** The unit's parameters are where the plan says; throws a `Departure` when the plan says that it is another unit's turn. */
  enter(planned: Planned, unit: Unit, pass: Pass): void {
    const { map, plan, walker, views } = planned;
    this.#passAbsent(planned);
    const moment = plan.moments[this.#moment]!;
    if (moment.unit !== map.layoutUnit.get(unit.index) || moment.pass !== pass) {
      throw departure(unit, pass, moment, map);
    }
    walker.enter(moment.index);
    walker.beginCompute();
    for (const { chunk, slot } of moment.parameters) views.bind(chunk, slot);
    this.#current = moment;
  }

  /**
   * Within a moment of which `allowed` says so: runs `body` with the parameters of the next one in place. Throws a
   * `Departure` where that is another unit's.
   */
  glance(planned: Planned, allowed: readonly boolean[], unit: Unit, pass: Pass, body: () => void): boolean {
    const { map, plan, walker, views } = planned;
    const current = this.#current;
    if (current === null || allowed[current.index] !== true) return false;
    const next = plan.moments[current.index + 1]!;
    if (next.unit !== map.layoutUnit.get(unit.index) || next.pass !== pass) throw departure(unit, pass, next, map);
    walker.awaitParameters(next.index);
    const bound = new Set(current.parameters.map(({ chunk }) => chunk));
    const arrived = next.parameters.filter(({ chunk }) => !bound.has(chunk));
    for (const { chunk, slot } of arrived) views.bind(chunk, slot);
    try {
      body();
    } finally {
      for (const { chunk } of arrived) views.unbind(chunk);
    }
    return true;
  }

  leave(planned: Planned, unit: Unit, pass: Pass): void {
    const { walker, views, recorder } = planned;
    const moment = this.#current!;
    for (const { chunk } of moment.parameters) views.unbind(chunk);
    if (this.#begun.size > 0) takeSummedNorms(this.#norms, planned, moment, this.#dtype);
    this.#begun.clear();
    const { microBatch } = moment;
    recorder.endCompute(
      walker.momentId(moment.index),
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
    if (moment === null) {
      this.#takeNothing(planned, unit);
      return;
    }
    const places = moment.gradients.map(({ chunk: id, slot, bytes, add }) => {
      const chunk = map.layout.chunks[id]!;
      const isSum = bytes !== chunk.elements * dtypeBytes(this.#dtype);
      // In the vertical order the sum is made here, one micro-batch after another.
      return { chunk, slot, add: add || this.#begun.has(id), dtype: isSum ? stateDtype(this.#dtype) : this.#dtype };
    });
    views.takeGradients(places, (parameter) => byParameter.get(parameter) ?? null);
    if (moment.microBatch < 0) for (const { chunk } of moment.gradients) this.#begun.add(chunk);
    if (!accumulates(plan)) takeNorms(this.#norms, planned, moment, byParameter);
    for (const gradient of gradients) gradient?.dispose();
  }

  /** The loss does not depend on this call of the unit: its backward is not entered. */
  #takeNothing(planned: Planned, unit: Unit): void {
    const { map, plan, absent } = planned;
    if (this.#moment < 0) {
      throw new TierraError('E_STATE', `gradients of ${unit.name} arrive outside a training step`);
    }
    const moment = plan.moments[this.#moment]!;
    const position = map.layoutUnit.get(unit.index);
    if (moment.pass === 'backward' && moment.unit === position && !absent.has(moment.index)) {
      this.#passMoment(planned, moment);
      return;
    }
    // Where the watched micro-batch had none either, its turn comes by itself.
    const isExpected = plan.moments.some(
      ({ index, unit: other, microBatch }) =>
        absent.has(index) && other === position && microBatch === plan.moments[this.#moment - 1]?.microBatch,
    );
    if (!isExpected) throw departure(unit, 'backward', moment, map);
  }

  #passAbsent(planned: Planned): void {
    while (planned.absent.has(this.#moment)) this.#passMoment(planned, planned.plan.moments[this.#moment]!);
  }

  /** A backward moment in which nothing is computed leaves gradients that change no sum. */
  #passMoment({ map, walker, views }: Planned, moment: PlannedMoment): void {
    walker.enter(moment.index);
    for (const { chunk: id, slot, bytes, add } of moment.gradients) {
      const chunk = map.layout.chunks[id]!;
      const type = bytes === chunk.elements * dtypeBytes(this.#dtype) ? this.#dtype : stateDtype(this.#dtype);
      if (!add) views.fillNothing(slot, chunk.elements, type);
    }
    walker.leave(moment.index);
    this.#moment = moment.index + 1;
  }

  /** Passes over the micro-batches before `microBatch`: the sums of their gradients are nothing, until they are put there. */
  skipTo(planned: Planned, microBatch: number): void {
    const { plan, walker } = planned;
    while (plan.moments[this.#moment]!.pass !== 'norm' && plan.moments[this.#moment]!.microBatch < microBatch) {
      this.#passMoment(planned, plan.moments[this.#moment]!);
    }
    walker.waitForSums(microBatch);
  }

  /** Throws `E_STATE` unless every unit has had its turn; returns the index of the `norm` moment. */
  atNorm(planned: Planned): number {
    this.#passAbsent(planned);
    const norm = planned.plan.moments.findIndex(({ pass }) => pass === 'norm');
    if (this.#moment === norm) return norm;
    throw new TierraError('E_STATE', `the step ends at moment ${this.#moment} of ${norm}: units are missing from it`);
  }
}
