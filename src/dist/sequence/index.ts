export { copiesOfHeads, HeadExchange } from './headExchange.ts';
export { lossOverRanks, type ShardedLoss } from './loss.ts';
export { shareSequence } from './mode.ts';
export { joinSequence, runsOf, type SequenceOrder, sequenceOrders, splitSequence } from './order.ts';
export { refuseOptions } from './refuse.ts';
export { RingAttention } from './ringAttention.ts';
export { RingScores } from './ringScores.ts';
export { type SequenceMode, type SequenceModeName, sequenceModeNames } from './types.ts';
