export { blockLayers, receivedIn } from './blockLayers.ts';
export * from './cube.ts';
export {
  addSharded,
  conversionElements,
  convert,
  cutTensor,
  type Groups,
  joinTensor,
  type Layout,
  layoutText,
  mapElements,
  type Sharded,
} from './layout.ts';
export { lineLayers } from './lineLayers.ts';
export * from './oneD.ts';
export * from './operators.ts';
export * from './places.ts';
export { plannedPlace } from './plannedPlace.ts';
export type { Received } from './received.ts';
export * from './square.ts';
export * from './volumes.ts';
