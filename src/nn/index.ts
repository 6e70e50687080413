export { attachLoss, setAttachedGradient } from './attachedLoss.ts';
export * as init from './init.ts';
export {
  type EmbeddingLayer,
  type FeatureCut,
  type HeadLayer,
  type HeadOptions,
  type LayerFactory,
  type LinearLayer,
  layers,
  type NormLayer,
  wholeLayers,
  withLayers,
} from './layerFactory.ts';
export * from './layers/index.ts';
export * from './losses.ts';
export { type AnyModule, Module } from './module.ts';
export * from './moe/index.ts';
export { Parameter, type PartRange, type WholeOf } from './parameter.ts';
export {
  initialValues,
  nameParameters,
  type PlaceOptions,
  partOf,
  placeParameters,
  type TakenValues,
  takeValues,
  type ValueSource,
} from './place.ts';
export { type RandomKey, randomKeys } from './randomKeys.ts';
export { ForwardRunner, type UnitRunner, withRunner } from './runner.ts';
export { isSequenceModel, runSequence, type SequenceModel } from './sequence.ts';
export { loadStateDict, stateDict } from './stateDict.ts';
export { type BackwardOptions, Tape } from './tape.ts';
export {
  type ActivationPolicy,
  collectUnits,
  type Pass,
  parametersOutsideUnits,
  Unit,
  type UnitHost,
  type UnitOptions,
} from './unit.ts';
export { isWatched, watching } from './watching.ts';
