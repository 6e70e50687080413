export { type Flat, gatheredElements, layFlats, shardElements } from './flats.ts';
export type { DataParallelOptions, Kept, ReduceWhen } from './options.ts';
export { ReplicatedStore } from './replicatedStore.ts';
export { type ShardedOptions, ShardedStore } from './shardedStore.ts';
