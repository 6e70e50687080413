/** Tierra's public API. */
export { type Config, type ConfigInput, loadConfig, resolveConfig } from './config/index.ts';
export { type ErrorCode, isTierraError, TierraError } from './core/errors.ts';
export * as data from './data/index.ts';
export * as costs from './dist/costs/index.ts';
export * as dist from './dist/index.ts';
export * as pipeline from './dist/pipeline/index.ts';
export * from './engine/index.ts';
export * as models from './models/index.ts';
export * as nn from './nn/index.ts';
export * as losses from './nn/losses.ts';
export * as optim from './optim/index.ts';
export { createProgress, mergeTraces, type Progress } from './telemetry/index.ts';
export * from './tensor/index.ts';
