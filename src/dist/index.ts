export { agree, type Facts } from './agree.ts';
export { type Communicator, type ConnectOptions, connect } from './communicator.ts';
export type { CollectiveCounter, CollectiveName, Group, Reduction, Work } from './group.ts';
export { chooseBackend, deviceIndexFor, threadsPerRank } from './launch/share.ts';
export { type Axis, axes, type Coordinate, type Degrees, type Mesh, MeshLayout, makeMesh } from './mesh.ts';
export { type OpenStore, type OpenStoreOptions, openStore, type Store } from './store.ts';
export { agreeOver } from './sums.ts';
export * from './tensor/index.ts';
export { alone, type Backend, type Launcher, type Rendezvous, type World } from './world.ts';
