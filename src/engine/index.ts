export * from './criterionTask.ts';
export { type Criterion, Engine, type EngineProgress, type StepOutcome } from './engine.ts';
export { type Generator, generateIds, type SampleSettings, sampleText, writeSample } from './generate.ts';
export type { Hook, HookName, StepSummary } from './hooks.ts';
export { type InitializeOptions, initialize } from './initialize.ts';
export { languageTask, type Tokens } from './languageTask.ts';
export { type Context, launch } from './launch.ts';
export { joinMesh, meshOf } from './mesh.ts';
export { type NonFiniteOrigin, originText } from './numerics/origin.ts';
export type { NonFiniteAction } from './numerics/policy.ts';
export {
  type MeasuredRank,
  measuredBubble,
  measureRank,
  type PipelineTimeline,
  pipelineTimeline,
} from './pipelineTimeline.ts';
export { underTensorParallel } from './tensorParallel.ts';
export { type Recovery, type Task, Trainer, type TrainerOptions } from './trainer.ts';
export { evaluating, reporting } from './trainingHooks.ts';
