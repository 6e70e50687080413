export { type Flat, gatheredElements, layFlats, shardElements } from './flats.ts';
export type { Copies, DataParallelOptions, Kept, ReduceWhen } from './options.ts';
export { ReplicatedStore } from './replicatedStore.ts';
export type { Room } from './rooms.ts';
export { type ShardedOptions, ShardedStore } from './shardedStore.ts';
export { ShardModel } from './shardModel.ts';
export {
  type DataVolume,
  normMessage,
  reductionBytes,
  replicatedVolume,
  roomFor,
  type ShardedCourse,
  shardedVolume,
} from './volumes.ts';
