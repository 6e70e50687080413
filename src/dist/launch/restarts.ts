import { type Environment, integer } from './variables.ts';

/** How often the launcher has started this job again after a failure. */
export const restartsSoFar = (env: Environment): number =>
  integer(env, 'TIERRA_RESTART', 0) ?? integer(env, 'TORCHELASTIC_RESTART_COUNT', 0) ?? 0;
