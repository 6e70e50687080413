export * from './dtype.ts';
export * from './grad.ts';
export * as ops from './ops/index.ts';
export { readLater } from './reading.ts';
export { closeScope, openScope, scope } from './scope.ts';
export { adopt, Tensor } from './tensor.ts';
