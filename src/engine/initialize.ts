import { TierraError } from '../core/errors.ts';
import type { Group } from '../dist/index.ts';
import { type PipelineEvent, type ScheduleMaker, StageModel } from '../dist/pipeline/index.ts';
import {
  type AnyModule,
  collectUnits,
  initialValues,
  type Module,
  type Parameter,
  parametersOutsideUnits,
  takeValues,
  type Unit,
  type ValueSource,
} from '../nn/index.ts';
import type { StoreObserver } from '../offload/observer.ts';
import type { ParameterStore } from '../offload/store.ts';
import type { Optimizer, Schedule } from '../optim/index.ts';
import type { Tensor } from '../tensor/index.ts';
import { setActivations } from './activations.ts';
import { type Criterion, Engine } from './engine.ts';
import type { Context } from './launch.ts';
import { pipelineGroup } from './mesh.ts';
import { orderAsked } from './microBatchOrder.ts';
import { shareModel, withRule } from './modelParts.ts';
import { sumsAgreement, writesFor } from './modelSums.ts';
import { EnginePipeline } from './pipelining.ts';
import { createStore } from './placement.ts';
import { checkCompressedStates } from './precision/compressedAllowed.ts';
import { type DataRanks, dataRanks, noOtherRanks } from './ranks.ts';
import { totalStepsOf } from './totalSteps.ts';
import { updateScheduleFor } from './updateSchedule.ts';

export interface InitializeOptions<Input, Output, Label> {
  readonly context: Context;
  readonly model: Module<[Input], Output>;
  /** Default: the `optimizer` section of the configuration. */
  readonly optimizer?: Optimizer;
  /** Default: the `schedule` section of the configuration, over `totalSteps`. */
  readonly schedule?: Schedule;
  /** What will be trained on: its length turns `train.epochs` into steps. */
  readonly trainData?: { readonly batchesPerEpoch: number | null };
  /** Optimizer steps of the whole run, which the learning-rate schedule spans; default `train.steps` or `train.epochs`. */
  readonly totalSteps?: number;
  /** False where no step will be taken: only the weights need room, and the run needs no length. Default true. */
  readonly forTraining?: boolean;
  /** First values of the parameters, such as loaded weights; default: what a parameter holds that has memory, and its initialiser for others. */
  readonly values?: ValueSource;
  /** Hears the plan that `memory:` leads to, and what happens when. */
  readonly observer?: StoreObserver;
  /** The ranks of this process's pipeline in its order; default: as `parallel.pp` divides the ranks of `context.world`. */
  readonly pipeline?: Group;
  /** A pipeline schedule of your own in place of `parallel.pipeline.schedule`: checked before it runs. */
  readonly pipelineSchedule?: ScheduleMaker;
  /**
   * For layers of your own: the ranks that each have a copy of a parameter and a part of its gradient, which is the sum over them; null: those
   * that `parallel:` says. The group has all copies there are. The same answer on all ranks of the group.
   */
  readonly gradientGroup?: (parameter: Parameter) => Group | null;
  /** Hears every action of the pipeline's schedule when this rank is done with it. */
  readonly onPipelineEvent?: (event: PipelineEvent) => void;
  /** Who trains on each batch with this process; default: the ranks of `context.world`, as `parallel:` divides them. */
  readonly ranks?: DataRanks;
  /** Called by `engine.criterion`; not needed when the model returns its loss. */
  readonly criterion?: Criterion<Output, Label>;
}

/**
 * Turns a model into something that trains: its units are numbered, its parameters get memory and initial values where
 * `memory:` says, and the optimizer's groups are fixed. Throws `E_ARGUMENT` when a parameter lies outside every unit, `E_CONFIG` when the number
 * of steps is unknown, `E_OUT_OF_MEMORY` when the model does not fit.
 */
export function initialize<Input = Tensor, Output = Tensor, Label = Tensor>(
  options: InitializeOptions<Input, Output, Label>,
): Engine<Input, Output, Label> {
  const { context, model } = options;
  const { config } = context;
  const ranks = options.ranks ?? (options.pipeline === undefined ? dataRanks(context) : noOtherRanks);
  const { experts, copiesOf: copiesInMesh } = shareModel(context, model as AnyModule, ranks);
  const { gradientGroup } = options;
  const copiesOf = gradientGroup === undefined ? copiesInMesh : withRule(context, copiesInMesh, gradientGroup);
  const units = collectUnits(model as AnyModule);
  const outside = parametersOutsideUnits(model as AnyModule, units);
  if (outside.length > 0) {
    throw new TierraError(
      'E_ARGUMENT',
      `initialize: ${outside.length} parameters lie outside every unit: ${outside.slice(0, 5).join(', ')}`,
      {
        hint: 'Call unit() on the modules that own them, or on none, which makes the whole model one unit.',
      },
    );
  }
  setActivations(units, config.memory.activations);
  const { forTraining = true } = options;
  const totalSteps = !forTraining
    ? 1
    : (options.totalSteps ?? totalStepsOf(config, options.trainData?.batchesPerEpoch ?? null));
  const updates = updateScheduleFor(model as AnyModule, config, totalSteps, context.dtype, options);
  if (forTraining) checkCompressedStates(context, updates.optimizer);
  const group = options.pipeline ?? pipelineGroup(context);
  const pipeline =
    group === null || group.size === 1
      ? null
      : new EnginePipeline<Input>(context, model as AnyModule, units, group, options.pipelineSchedule);
  const agree = sumsAgreement(context, model as AnyModule, pipeline, experts);
  const held = pipeline?.stage ?? heldOf(model as AnyModule, units);
  const taken = takeValues(model as AnyModule);
  const first = (parameter: Parameter): Tensor =>
    taken.valueOf(parameter) ?? initialValues(parameter, config.seed, context.dtype);
  let store: ParameterStore;
  try {
    store = createStore(held, pipeline?.stage.units ?? units, context, updates, {
      ...options,
      values: options.values ?? first,
      placed(trains) {
        if (trains || !forTraining) taken.free();
      },
      forTraining,
      ...(copiesOf === null ? {} : { copiesOf }),
      ...(agree === undefined ? {} : { agree }),
    });
    pipeline?.open(store, options.onPipelineEvent);
  } catch (error) {
    taken.giveBack();
    throw error;
  }
  return new Engine({
    context,
    model,
    store,
    updates,
    criterion: pipeline === null ? (options.criterion ?? null) : null,
    units,
    accumulation: pipeline === null ? orderAsked(config.memory) : 'horizontal',
    ranks,
    taken,
    ...(pipeline === null ? {} : { pipeline }),
    answers: writesFor(context, pipeline, copiesOf, (parameter) => (gradientGroup?.(parameter) ?? null) !== null),
  });
}

/** The model, or what this rank has of it where others have some of its parameters. */
function heldOf(model: AnyModule, units: readonly Unit[]): AnyModule {
  const isWhole = model.parameters().every(({ isHere }) => isHere);
  return isWhole ? model : new StageModel(model, units, [{ first: 0, end: units.length }]);
}
