/** What sp and ep divide of a model: the sizes that traffic goes by, and what cannot be divided. */

import type { Config } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';
import { SpreadExperts, spreadModel } from '../dist/experts/index.ts';
import { type MeshLayout, plannedGroup } from '../dist/index.ts';
import { copiesOfHeads, refuseOptions, shareSequence } from '../dist/sequence/index.ts';
import type { BuiltModel, MixtureConfig } from '../models/index.ts';
import type { AnyModule } from '../nn/index.ts';
import { tensorDivision } from './planTensor.ts';

export interface AttentionSizes {
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headSize: number;
  readonly dropout: number;
  readonly window: number | null;
}

/** Of the whole model. */
export function attentionSizes({ model }: BuiltModel): AttentionSizes {
  const config = model.config as unknown as Readonly<Record<string, number | null | undefined>>;
  const heads = Number(config.num_attention_heads ?? config.n_head);
  return {
    heads,
    keyValueHeads: Number(config.num_key_value_heads ?? heads),
    headSize: Number(config.head_dim ?? Number(config.hidden_size ?? config.n_embd) / heads),
    dropout: Number(config.attention_dropout ?? config.attn_pdrop ?? 0),
    window: config.sliding_window ?? null,
  };
}

/** Null for a model without experts. */
export const mixtureOf = ({ model }: BuiltModel): MixtureConfig | null =>
  (model.config as { mixture?: MixtureConfig }).mixture ?? null;

/**
 * Tells the model which experts are here, as the first of its ranks, and checks what a run would refuse, in its words: sequences that
 * cannot be cut, heads that cannot be dealt out, what a mode does not know, experts that do not divide, a model without any.
 */
export function sharePlanned(built: BuiltModel, { data, parallel }: Config, layout: MeshLayout): void {
  const { sp, ep } = layout.degrees;
  const { inside } = tensorDivision(parallel);
  if (sp > 1) {
    shareSequence(parallel.sequence, plannedGroup('sp', sp)).runs(data.sequenceLength / sp);
    const { heads, keyValueHeads, dropout, window } = attentionSizes(built);
    if (parallel.sequence === 'heads') copiesOfHeads(heads / inside, keyValueHeads / inside, sp);
    if (parallel.sequence === 'ring') refuseOptions('ring', { causal: true, dropout, window }, ['dropout', 'window']);
  }
  if (ep === 1) return;
  if (spreadModel(built.model as AnyModule, new SpreadExperts(plannedGroup('ep', ep))) > 0) return;
  throw new TierraError('E_CONFIG', `parallel.ep: ${ep} ranks would share the experts of a model that has none`, {
    hint: 'Leave ep at 1 for models without mixtures of experts: dp takes the ranks.',
  });
}
