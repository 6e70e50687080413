/** What a rank answers for, of the parameters that it has parts or copies of. */
import { agreeOver } from '../dist/index.ts';
import type { AnyModule, Parameter } from '../nn/index.ts';
import type { SumsAgreement } from '../offload/norms.ts';
import type { Context } from './launch.ts';
import { meshOf } from './mesh.ts';
import type { CopiesOf } from './modelParts.ts';
import type { EnginePipeline } from './pipelining.ts';

type Stages = Pick<EnginePipeline<unknown>, 'ownership' | 'group'>;

/** Whether this rank answers for a parameter it holds: of several copies the first one counts, of parts all do. */
export type Answers = (parameter: Parameter) => boolean;

/** Among the ranks along pp and tp. */
function answersForPart(context: Context, pipeline: Stages | null): Answers {
  const { tp } = context.config.parallel;
  const first = tp === 1 || meshOf(context).coordinate.tp === 0;
  return (parameter) => {
    const { whole } = parameter;
    return (whole === null ? first : (whole.copy ?? 0) === 0) && isOwner(parameter, pipeline);
  };
}

const isOwner = (parameter: Parameter, pipeline: Stages | null): boolean =>
  pipeline === null || pipeline.ownership.ownerOf.get(parameter) === pipeline.group.rank;

/** Whether this rank writes what it has of a parameter into checkpoints: of shards all are written, of one copy. */
export function writesFor(
  context: Context,
  pipeline: Stages | null,
  copiesOf: CopiesOf | null,
  hasRule: Answers,
): Answers {
  const answers = answersForPart(context, pipeline);
  if (copiesOf === null) return answers;
  const spread = context.config.parallel.zero > 0;
  return (parameter) => {
    const { shards, replicas } = copiesOf(parameter);
    // Ranks along tp have shards of their own where a rule of the user's spreads a parameter over them.
    const here = hasRule(parameter) ? isOwner(parameter, pipeline) : answers(parameter);
    return here && (replicas?.rank ?? 0) === 0 && (spread || shards.rank === 0);
  };
}

/** Undefined where this rank, or those that have copies of all it has, hold the whole model. */
export function sumsAgreement(
  context: Context,
  model: AnyModule,
  pipeline: Stages | null,
  experts: ReadonlySet<Parameter>,
): SumsAgreement | undefined {
  const { tp, ep } = context.config.parallel;
  if (tp === 1 && ep === 1 && pipeline === null) return undefined;
  const answers = answersForPart(context, pipeline);
  const first = ep === 1 || meshOf(context).coordinate.ep === 0;
  return agreeOver({
    group: tp === 1 && ep === 1 ? pipeline!.group : meshOf(context).group('pp', 'ep', 'tp'),
    device: context.device,
    parameters: model.parameters().filter(({ trainable }) => trainable),
    counts: (parameter) => answers(parameter) && (first || experts.has(parameter)),
  });
}
