export { mostMessages, visitsOf } from './course.ts';
export { layOutPipeline, type PipelineLayout, type PipelineSettings, rankOfUnit, unitWork } from './layout.ts';
export { balancedCuts, givenCuts, type StageRange, uniformCuts } from './partition.ts';
export { type PipelineEvent, type PipelineParts, PipelineRunner, type PipelineStep } from './runner.ts';
export * from './schedule/index.ts';
export { type GradientAccess, type Ownership, ownership, type SharedParameter, sumShared } from './shared.ts';
export { SharedGradients, sharedUnitOf } from './sharedUnit.ts';
export { StageModel } from './stageModel.ts';
