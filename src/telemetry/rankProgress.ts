import type { Progress } from './progress.ts';

/** The progress of a rank beside the first, which tells what concerns all: only warnings, with the rank's number. */
export function rankProgress(progress: Progress, rank: number): Progress {
  return {
    start: () => {},
    step: () => {},
    evaluation: () => {},
    saved: () => {},
    note: () => {},
    warn: (text, event) => progress.warn(`rank ${rank}: ${text}`, event),
    finish: () => {},
    dispose: () => progress.dispose(),
    [Symbol.dispose]: () => progress.dispose(),
  };
}
