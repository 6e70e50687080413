/** `parallel.pp`: this process trains some stages of the model, and its neighbours the others. */
import { TierraError } from '../core/errors.ts';
import type { Group } from '../dist/index.ts';
import {
  type GradientAccess,
  layOutPipeline,
  type Ownership,
  ownership,
  type PipelineEvent,
  type PipelineLayout,
  PipelineRunner,
  type PipelineStep,
  type ScheduleMaker,
  SharedGradients,
  StageModel,
  sharedUnitOf,
  sumShared,
} from '../dist/pipeline/index.ts';
import { ReplicatedStore } from '../dist/zero/index.ts';
import type { AnyModule, Unit } from '../nn/index.ts';
import { isSequenceModel, type SequenceModel } from '../nn/sequence.ts';
import { stateDtype } from '../offload/resident/entries.ts';
import type { ParameterStore } from '../offload/store.ts';
import type { Tensor } from '../tensor/index.ts';
import type { Context } from './launch.ts';
import { asksForTiers } from './placement.ts';

export class EnginePipeline<Input> {
  readonly layout: PipelineLayout;
  readonly group: Group;
  /** The part of the model that this rank holds. */
  readonly stage: StageModel;
  readonly ownership: Ownership;
  readonly #context: Context;
  readonly #model: SequenceModel<Input>;
  /** The unit in whose moments the store gets the gradients of parameters on several ranks; null where it needs none. */
  readonly #shared: Unit | null;
  #placed: { readonly store: ParameterStore; readonly runner: PipelineRunner<Input> } | null = null;

  /** After the optimizer's groups are fixed: frozen parameters have no gradients to agree on. `maker` makes another schedule than the configured one. */
  constructor(context: Context, model: AnyModule, units: readonly Unit[], group: Group, maker?: ScheduleMaker) {
    const { parallel, train } = context.config;
    const { schedule, chunks, cuts } = parallel.pipeline;
    const sequence = isSequenceModel(model) ? (model as unknown as SequenceModel<Input>) : null;
    this.layout = layOutPipeline(units, sequence?.stages ?? null, {
      schedule: maker ?? schedule,
      cuts,
      ranks: group.size,
      microBatches: train.accumulate,
      ...(chunks === 'auto' ? {} : { chunks }),
    });
    this.#context = context;
    this.#model = sequence!;
    this.group = group;
    const own = this.layout.stagesOf[group.rank]!.map((stage) => this.layout.stages[stage]!);
    this.ownership = ownership(model, units, this.layout);
    const shared = keepsGradients(context) ? null : sharedUnitOf(model, units, this.ownership, group.rank);
    this.stage = new StageModel(model, units, own, shared);
    this.#shared = shared;
  }

  /** `store` keeps the parameters of `stage`. */
  open(store: ParameterStore, observe?: (event: PipelineEvent) => void): void {
    const { layout, group } = this;
    const { device, dtype } = this.#context;
    const { ownership } = this;
    const wide = stateDtype(dtype);
    const shared =
      this.#shared === null
        ? {}
        : { shared: new SharedGradients({ unit: this.#shared, ownership, group, device, wide }) };
    const common = { model: this.#model, layout, group, host: store, device, ...shared };
    this.#placed = { store, runner: new PipelineRunner(observe === undefined ? common : { ...common, observe }) };
  }

  prepare(batch: Input): void {
    const { store, runner } = this.#open;
    runner.prepare(store, this.#context.config.train.accumulate, batch);
  }

  prepareForward(batch: Input): void {
    const { store, runner } = this.#open;
    runner.prepareForward(store, batch);
  }

  /** Forward and backward of a step. Copies of a parameter on several ranks have one gradient afterwards. */
  runStep(step: PipelineStep<Input>): Tensor[] {
    const { store, runner } = this.#open;
    const losses = runner.runStep(step);
    const gradients = gradientsOf(store);
    if (gradients !== null && this.#shared === null) {
      const { device, dtype } = this.#context;
      sumShared(this.ownership, gradients, this.group, device, stateDtype(dtype));
    }
    return losses;
  }

  /** The model's results on every rank. */
  forward(batches: readonly Input[]): Tensor[] {
    return this.#open.runner.forward(batches);
  }

  get #open() {
    if (this.#placed === null) throw new TierraError('E_INTERNAL', 'the pipeline has no store');
    return this.#placed;
  }
}

/** Whether every rank's store has whole gradients to read and replace between backward and update. */
const keepsGradients = ({ config: { memory, parallel } }: Context): boolean =>
  parallel.zero === 0 && (memory.policy === 'off' || !asksForTiers(memory));

/** Where whole gradients of this rank's copy can be read and replaced; null where they cannot. */
function gradientsOf(store: ParameterStore): GradientAccess | null {
  if (store instanceof ReplicatedStore) return gradientsOf(store.below);
  return 'setGradient' in store ? (store as ParameterStore & GradientAccess) : null;
}
