import type { ShardedSequence } from '../../nn/index.ts';
import type { Group } from '../group.ts';
import type { SequenceOrder } from './order.ts';

/** A way to attend over a sequence that the ranks of a group share. */
export interface SequenceMode extends ShardedSequence {
  readonly name: SequenceModeName;
  readonly group: Group;
  readonly order: SequenceOrder;
}

/**
 * `scores`: full rows of scores, keys and values in rings (Li et al. 2021). `heads`: all-to-all to whole sequences of some
 * heads (Jacobs et al. 2023). `ring`: blocks merged by log-sum-exp (Liu et al. 2023).
 */
export const sequenceModeNames = ['scores', 'heads', 'ring'] as const;
export type SequenceModeName = (typeof sequenceModeNames)[number];
