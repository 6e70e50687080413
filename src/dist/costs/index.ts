export { type Cluster, describeLinks, type LinkFlags, type Links, linkOf } from './cluster.ts';
export { type MixtureShape, type MixtureVolume, mixtureVolume } from './experts.ts';
export {
  type LayerShape,
  type LayerVolume,
  linearsOf,
  type SequenceMode,
  sequenceVolume,
  tensorVolume,
  weightsOf,
} from './layer.ts';
export { type LinearShape, type LinearVolume, linearVolume, ranksOfMode, type TensorMode } from './linear.ts';
export { type MemoryInput, type MemoryPerRank, memoryPerRank } from './memory.ts';
export { type ModelShape, parametersOf, stepFlops } from './model.ts';
export { type Mesh, type Prediction, predict, type Work } from './predict.ts';
export { division, type MeshProposal, proposeMesh } from './search.ts';
export {
  type SharedAttentionShape,
  type SharedAttentionVolume,
  sharedAttentionVolume,
} from './sharedAttention.ts';
export { tensorUnitVolume, type UnitKind, type UnitsShape, type UnitVolume } from './units.ts';
