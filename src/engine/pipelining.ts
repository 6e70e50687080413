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
  PipelineNorms,
  PipelineRunner,
  type PipelineStep,
  StageModel,
  sumShared,
} from '../dist/pipeline/index.ts';
import type { AnyModule, Unit } from '../nn/index.ts';
import { isSequenceModel, type SequenceModel } from '../nn/sequence.ts';
import { stateDtype } from '../offload/resident/entries.ts';
import type { ParameterStore } from '../offload/store.ts';
import type { Tensor } from '../tensor/index.ts';
import type { Context } from './launch.ts';

export class EnginePipeline<Input> {
  readonly layout: PipelineLayout;
  readonly group: Group;
  /** The part of the model that this rank holds. */
  readonly stage: StageModel;
  readonly norms: PipelineNorms;
  readonly #context: Context;
  readonly #model: SequenceModel<Input>;
  readonly #ownership: Ownership;
  #placed: { readonly store: ParameterStore; readonly runner: PipelineRunner<Input> } | null = null;

  /** After the optimizer's groups are fixed: frozen parameters have no gradients to agree on. */
  constructor(context: Context, model: AnyModule, units: readonly Unit[], group: Group) {
    const { parallel, train } = context.config;
    const { schedule, chunks, cuts } = parallel.pipeline;
    const sequence = isSequenceModel(model) ? (model as unknown as SequenceModel<Input>) : null;
    this.layout = layOutPipeline(units, sequence?.stages ?? null, {
      schedule,
      cuts,
      ranks: group.size,
      microBatches: train.accumulate,
      ...(chunks === 'auto' ? {} : { chunks }),
    });
    this.#context = context;
    this.#model = sequence!;
    this.group = group;
    const own = this.layout.stagesOf[group.rank]!.map((stage) => this.layout.stages[stage]!);
    this.stage = new StageModel(model, units, own);
    this.#ownership = ownership(model, units, this.layout);
    this.norms = new PipelineNorms({
      threads: context.optimizerThreads,
      group,
      device: context.device,
      ownership: this.#ownership,
    });
  }

  /** `store` keeps the parameters of `stage`. */
  open(store: ParameterStore, observe?: (event: PipelineEvent) => void): void {
    const { layout, group } = this;
    const { device } = this.#context;
    const shared = this.#ownership.shared.filter(({ ranks }) => ranks.includes(group.rank));
    if (shared.length > 0 && !givesGradients(store)) {
      const names = shared.map(({ parameter }) => parameter.name).join(', ');
      throw new TierraError(
        'E_UNSUPPORTED',
        `pipeline: ${names} is used by stages on ranks ${shared[0]!.ranks.join(' and ')}, and this rank keeps it in tiers`,
        {
          hint: 'Untie the weights (tie_word_embeddings: false), keep this rank resident, or use schedule: zbv, where the first and the last layers share a rank.',
        },
      );
    }
    const common = { model: this.#model, layout, group, host: store, device };
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
    if (givesGradients(store)) {
      const { device, dtype } = this.#context;
      sumShared(this.#ownership, store, this.group, device, stateDtype(dtype));
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

const givesGradients = (store: ParameterStore): store is ParameterStore & GradientAccess => 'setGradient' in store;
