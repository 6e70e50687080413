export * from './arithmetic.ts';
export * from './create.ts';
export * from './linalg.ts';
export * from './neural.ts';
export * from './reduce.ts';
export * from './shape.ts';
