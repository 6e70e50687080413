export type { CollectiveCounter, CollectiveName, Group, Reduction, Work } from './group.ts';
export { chooseBackend, deviceIndexFor, threadsPerRank } from './launch/share.ts';
export { alone, type Backend, type Launcher, type Rendezvous, type World } from './world.ts';
