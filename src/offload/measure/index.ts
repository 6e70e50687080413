export type { ComputeRates } from './compute.ts';
export { type MeasuredMachine, type MeasureOptions, machineName, measureMachine } from './measureMachine.ts';
