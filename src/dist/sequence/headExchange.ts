/**
 * All-to-all between tokens and heads (DeepSpeed-Ulysses, Jacobs et al. 2023): outside of attention a rank has some tokens of all
 * heads, inside all tokens of some heads. Eight all-to-alls per layer, forward and backward of query, key, value and output;
 * elements received: 4(p-1)/p² · tokens · (heads + kv heads) · head size.
 */
import { TierraError } from '../../core/errors.ts';
import { type AttentionOptions, attention } from '../../nn/index.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import { allToAllInGroup } from '../tensor/operators.ts';
import { refuseOptions } from './refuse.ts';
import { SharedTokens } from './sharedTokens.ts';

const [heads, tokens] = [1, 2];

export class HeadExchange extends SharedTokens {
  readonly name = 'heads';
  readonly order = 'contiguous';

  attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
    refuseOptions(this.name, options, ['alibi', 'mask']);
    const copies = copiesOfHeads(query.size(heads), key.size(heads), this.parts);
    const gathered = (x: Tensor): Tensor => allToAllInGroup(x, this.group, heads, tokens);
    const ofKeys = (x: Tensor): Tensor => gathered(copies === 1 ? x : ops.repeatInterleave(x, copies, heads));
    const mixed = attention(gathered(query), ofKeys(key), ofKeys(value), options);
    return allToAllInGroup(mixed, this.group, tokens, heads);
  }
}

/**
 * How often each key/value head is sent over `parts` ranks: once, or to every rank that has query heads of it. Throws `E_CONFIG`
 * where heads cannot be dealt out.
 */
export function copiesOfHeads(queryHeads: number, keyHeads: number, parts: number): number {
  if (queryHeads % parts === 0 && keyHeads % parts === 0) return 1;
  if (queryHeads % parts === 0 && parts % keyHeads === 0) return parts / keyHeads;
  throw new TierraError(
    'E_CONFIG',
    `sequence parallelism by "heads" over ${parts} ranks needs heads % sp = 0 and kv heads % sp = 0 or sp % kv heads = 0: ` +
      `${queryHeads} % ${parts} = ${queryHeads % parts}, ${keyHeads} % ${parts} = ${keyHeads % parts}, ${parts} % ${keyHeads} = ${parts % keyHeads}`,
    {
      hint: 'Choose another degree, or the mode "ring", which does not split heads.',
      details: { queryHeads, keyHeads, parts },
    },
  );
}
