import type { Group } from '../group.ts';
import { HeadExchange } from './headExchange.ts';
import { RingAttention } from './ringAttention.ts';
import { RingScores } from './ringScores.ts';
import type { SequenceMode, SequenceModeName } from './types.ts';

/** The way of `name` to share sequences in `group`; assign it to `model.sequence`. */
export function shareSequence(name: SequenceModeName, group: Group): SequenceMode {
  if (name === 'heads') return new HeadExchange(group);
  return name === 'ring' ? new RingAttention(group) : new RingScores(group);
}
