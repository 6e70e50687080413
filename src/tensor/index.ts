export * from './dtype.ts';
export * from './grad.ts';
export * as ops from './ops/index.ts';
export { closeScope, openScope, scope } from './scope.ts';
export { adopt, Tensor } from './tensor.ts';
