export { type AdamwOptions, adamw } from './adamw.ts';
export { type OptimizerSettings, optimizerFrom } from './fromSettings.ts';
export {
  type GroupOptions,
  type GroupRule,
  type GroupSettings,
  groupParameters,
  type NamedShape,
  type ParameterGroups,
} from './groups.ts';
export { type LionOptions, lion } from './lion.ts';
export { type HyperParameters, momentsOf, type Optimizer, stateBytesPerParameter } from './optimizer.ts';
export * from './schedules/index.ts';
export { type SgdOptions, sgd } from './sgd.ts';
export { hyperparametersAt } from './updateGroup.ts';
