export { constant } from './constant.ts';
export { cosine } from './cosine.ts';
export { type ScheduleSettings, scheduleFrom } from './fromSettings.ts';
export { linear } from './linear.ts';
export { type OneCycleOptions, oneCycle } from './oneCycle.ts';
export { type PolynomialOptions, polynomial } from './polynomial.ts';
export type { DecayOptions, Schedule, WarmupOptions } from './schedule.ts';
