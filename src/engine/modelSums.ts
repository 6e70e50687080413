/** Which gradient norms a rank adds to those of the ranks that hold other parts of the same copy of the model. */
import { agreeOver } from '../dist/index.ts';
import type { AnyModule, Parameter } from '../nn/index.ts';
import type { SumsAgreement } from '../offload/norms.ts';
import type { Context } from './launch.ts';
import { meshOf } from './mesh.ts';
import type { EnginePipeline } from './pipelining.ts';

type Stages = Pick<EnginePipeline<unknown>, 'ownership' | 'group'>;

/** Whether this rank answers for a parameter it holds: of several copies the first one counts, of parts all do. */
export type Answers = (parameter: Parameter) => boolean;

export function answersFor(context: Context, pipeline: Stages | null): Answers {
  const { tp } = context.config.parallel;
  const first = tp === 1 || meshOf(context).coordinate.tp === 0;
  return (parameter) =>
    (first || parameter.whole !== null) &&
    (pipeline === null || pipeline.ownership.ownerOf.get(parameter) === pipeline.group.rank);
}

/** Undefined where this rank, or those it shares batches with, hold the whole model. */
export function sumsAgreement(context: Context, model: AnyModule, pipeline: Stages | null): SumsAgreement | undefined {
  const { tp } = context.config.parallel;
  if (tp === 1 && pipeline === null) return undefined;
  return agreeOver({
    group: tp === 1 ? pipeline!.group : meshOf(context).group('pp', 'tp'),
    device: context.device,
    parameters: model.parameters().filter(({ trainable }) => trainable),
    counts: answersFor(context, pipeline),
  });
}
