/**
 * Tokens per second over a window of recent steps. Only the time between `begin` and `end` counts, so evaluation and
 * saving between steps do not slow the figure down. The first step is ignored: it allocates, traces and warms caches.
 */
export class ThroughputMeter {
  readonly #windowSteps: number;
  readonly #steps: { readonly ms: number; readonly tokens: number }[] = [];
  #beganMs: number | undefined;
  #seenFirst = false;

  constructor(windowSteps = 20) {
    this.#windowSteps = windowSteps;
  }

  /** Times are milliseconds of a monotonic clock such as `performance.now()`. */
  begin(nowMs: number): void {
    this.#beganMs = nowMs;
  }

  /** Ends the step that `begin` started; without one the call has no effect. */
  end(nowMs: number, tokens: number): void {
    const ms = this.#beganMs === undefined ? undefined : nowMs - this.#beganMs;
    this.#beganMs = undefined;
    if (ms === undefined) return;
    if (!this.#seenFirst) {
      this.#seenFirst = true;
      return;
    }
    this.#steps.push({ ms, tokens });
    if (this.#steps.length > this.#windowSteps) this.#steps.shift();
  }

  /** Undefined until two steps have ended. */
  get tokensPerSecond(): number | undefined {
    const seconds = this.#seconds();
    if (seconds <= 0) return undefined;
    return this.#steps.reduce((sum, step) => sum + step.tokens, 0) / seconds;
  }

  /** Time that `steps` more steps would take at the recent pace. */
  secondsFor(steps: number): number | undefined {
    return this.#steps.length === 0 ? undefined : (this.#seconds() / this.#steps.length) * steps;
  }

  #seconds(): number {
    return this.#steps.reduce((sum, step) => sum + step.ms, 0) / 1000;
  }
}
