/** Says what a run waits for when nothing happens for `runtime.watchdog` seconds, and lets a second signal end it at once. */
import { native } from '../native/load.ts';

/** What begins now, such as `step 12: backward`. Costs nothing while nobody watches. */
export function beat(text: string): void {
  native().watchdogBeat(text);
}

/** Watches this process until disposed of; null only listens for signals. */
export function watchRun(seconds: number | null): Disposable {
  if (seconds !== null) native().watchdogStart(seconds);
  native().quitOnSecondSignal(true);
  return {
    [Symbol.dispose]() {
      native().quitOnSecondSignal(false);
      native().watchdogStop();
    },
  };
}
