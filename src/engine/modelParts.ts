/** `parallel.sp` and `parallel.ep`: what a model is told of ranks that have other tokens, and other experts. */
import { TierraError } from '../core/errors.ts';
import { expertParameters, SpreadExperts, spreadModel } from '../dist/experts/index.ts';
import type { Group } from '../dist/index.ts';
import { shareSequence } from '../dist/sequence/index.ts';
import type { Copies } from '../dist/zero/index.ts';
import type { AnyModule, Parameter, ShardedSequence } from '../nn/index.ts';
import type { Context } from './launch.ts';
import { meshOf } from './mesh.ts';
import type { DataRanks } from './ranks.ts';

/** Which ranks have copies of a parameter that this one has. */
export type CopiesOf = (parameter: Parameter) => Copies;

export interface SharedModel {
  /** Null where nobody else has any. */
  readonly copiesOf: CopiesOf | null;
  /** Experts that are here and on no other rank along ep. */
  readonly experts: ReadonlySet<Parameter>;
}

/**
 * Before units are collected and parameters placed. A `sequence` that was given to the model by hand stays. Throws
 * `E_UNSUPPORTED` for a model that cannot share sequences, `E_CONFIG` where there are no experts, or they do not divide.
 */
export function shareModel({ config }: Context, model: AnyModule, { groups }: DataRanks): SharedModel {
  if (groups === null) return { copiesOf: null, experts: new Set() };
  const { sequence, experts, tokens, copies, expertCopies } = groups;
  if (sequence.size > 1) {
    const sharing = sharingOf(model, sequence.size);
    sharing.sequence ??= shareSequence(config.parallel.sequence, sequence);
  }
  // Where all experts are on every rank, the balance of their loads is still that of all tokens.
  const mixtures = spreadModel(model, new SpreadExperts(experts, tokens));
  if (experts.size === 1) return { copiesOf: () => copies, experts: new Set() };
  if (mixtures === 0) throw noExperts(experts.size);
  const here = expertParameters(model);
  return { copiesOf: (parameter) => (here.has(parameter) ? expertCopies : copies), experts: here };
}

/** What the mesh says, but where a rule of the user's names another group. */
export function withRule(
  context: Context,
  inMesh: CopiesOf | null,
  gradientGroup: (parameter: Parameter) => Group | null,
): CopiesOf {
  const alone: Copies = { shards: meshOf(context).group(), replicas: null };
  const known = new Map<Group, Copies>();
  return (parameter) => {
    const group = gradientGroup(parameter);
    if (group === null) return inMesh?.(parameter) ?? alone;
    const copies = known.get(group) ?? { shards: group, replicas: null };
    known.set(group, copies);
    return copies;
  };
}

interface Sharing {
  sequence: ShardedSequence | null;
}

function sharingOf(model: object, ranks: number): Sharing {
  if ('sequence' in model) return model as Sharing;
  throw new TierraError('E_UNSUPPORTED', `parallel.sp: ${ranks} ranks, but this model cannot share sequences`, {
    hint: 'The models of this package can. Give yours a field `sequence: nn.ShardedSequence | null` and let it attend through that; see docs/sequence-parallel.md.',
  });
}

const noExperts = (ranks: number): TierraError =>
  new TierraError('E_CONFIG', `parallel.ep: ${ranks} ranks would share the experts of a model that has none`, {
    hint: 'Leave ep at 1 for models without mixtures of experts: dp takes the ranks.',
  });
