export { agree, type Facts } from './agree.ts';
export { type Communicator, type ConnectOptions, connect } from './communicator.ts';
export type { CollectiveCounter, CollectiveName, Group, Reduction, Work } from './group.ts';
export { chooseBackend, deviceIndexFor, threadsPerRank } from './launch/share.ts';
export { type OpenStore, type OpenStoreOptions, openStore, type Store } from './store.ts';
export { alone, type Backend, type Launcher, type Rendezvous, type World } from './world.ts';
