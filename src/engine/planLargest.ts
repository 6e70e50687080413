/** `tierra plan --largest`: how deep a model of the given width may be before this machine is too small for it. */
import type { Config } from '../config/index.ts';
import { isTierraError } from '../core/errors.ts';
import { alone } from '../dist/index.ts';
import { fits, largestThat, type Plan, planStep } from '../memory/index.ts';
import { buildModel, type ModelSettings, type TokenBatch } from '../models/index.ts';
import { ops, type Tensor } from '../tensor/index.ts';
import { initialize } from './initialize.ts';
import { launch } from './launch.ts';
import { usesTiers } from './placement.ts';
import { estimatePlan, type PlanRequest, type PlanSubject, subjectOf } from './planEstimate.ts';
import { type PlanSummary, summarizePlan } from './planSummary.ts';

export interface Largest {
  readonly summary: PlanSummary;
  readonly plan: Plan;
  /** The field of `config.json` that says how many blocks there are, and its largest value. */
  readonly field: string;
  readonly layers: number;
  /** The next depth with at least 5 % more parameters, and why it is refused. */
  readonly refused: { readonly layers: number; readonly parameters: number; readonly reason: string } | null;
}

/** Far deeper than anybody trains; only bounds the search. */
const deepest = 4096;

/**
 * Keeps everything but the number of blocks. Places models of growing depth (milliseconds each), then plans the deepest
 * that fits; on a GPU that is there also as a run would, after a look at one micro-batch (`rehearses` decides otherwise). Throws
 * `E_PLAN` when not even one block fits.
 */
export async function planLargest(config: Config, request: PlanRequest, rehearses?: boolean): Promise<Largest> {
  const subject = await estimatePlan(config, request);
  const { source, device } = subject.machine;
  // Plain tensors would be made at once, and are not planned for.
  const isRehearsed = usesTiers(config.memory) && (rehearses ?? (source === 'measured' && device !== 'cpu'));
  const field = subject.built.family === 'gpt2' ? 'n_layer' : 'num_hidden_layers';
  const known = new Map<number, PlanSubject>();
  const at = (layers: number): PlanSubject => {
    const found = known.get(layers) ?? withLayers(subject, field, layers);
    known.set(layers, found);
    return found;
  };
  const fitsAt = (count: number): boolean => fits(at(count).input);
  // Building very deep models takes longer than placing them: the bound grows from the depth that was given.
  let bound = subject.built.model.blocks.length;
  while (bound < deepest && fitsAt(bound)) bound *= 2;
  let layers = largestThat(fitsAt, 1, bound) ?? 1;
  for (;;) {
    try {
      const { plan, subject: answer } = isRehearsed ? rehearsed(at(layers)) : planned(at(layers));
      return { summary: summarizePlan(answer, plan), plan, field, layers, refused: refusal(at, layers) };
    } catch (error) {
      // Placing is cheaper than planning, and shapes are cheaper than a look at a micro-batch; both are now and then a little more hopeful.
      if (layers === 1 || !isTierraError(error, 'E_PLAN')) throw error;
      layers--;
    }
  }
}

interface Planned {
  readonly subject: PlanSubject;
  readonly plan: Plan;
}

const planned = (subject: PlanSubject): Planned => ({ subject, plan: planStep(subject.input) });

/** What a run of this model would plan; takes memory for one micro-batch and the largest unit, and gives it back. */
function rehearsed(subject: PlanSubject): Planned {
  const { config, built, map, input } = subject;
  const { train, data } = config;
  try {
    const context = launch(config, [], alone);
    using engine = initialize<TokenBatch, Tensor>({ context, model: built.model, totalSteps: train.steps ?? 1000 });
    using ids = ops.zeros([train.batchSize, data.sequenceLength], { dtype: 'int64', device: context.device });
    const { plan, trace, layout } = engine.rehearse({ ids, labels: ids })!;
    return { subject: { ...subject, map: { ...map, layout }, input: { ...input, trace, layout } }, plan };
  } finally {
    built.model.unplace();
  }
}

function withLayers({ built, config, machine, dtype }: PlanSubject, field: string, layers: number): PlanSubject {
  // A list with one entry for each layer cannot grow with them.
  const { layer_types: _, ...known } = built.hfConfig as Record<string, unknown>;
  const settings = { ...known, [field]: layers };
  const deeper = buildModel({ architecture: String(known.model_type), config: settings } as ModelSettings);
  return subjectOf(config, deeper, machine, dtype);
}

/** Planned like any other, so that the reason is the one a run would give. */
function refusal(at: (layers: number) => PlanSubject, largest: number): Largest['refused'] {
  const parameters = (layers: number): number => at(layers).built.model.parameterCount;
  let layers = largest + 1;
  while (parameters(layers) < 1.05 * parameters(largest)) layers++;
  try {
    planStep(at(layers).input);
    return null;
  } catch (error) {
    if (!isTierraError(error, 'E_PLAN')) throw error;
    return { layers, parameters: parameters(layers), reason: error.message };
  }
}
