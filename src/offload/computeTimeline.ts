/** The timeline of training with everything resident: steps, units, updates. Nothing is done where nobody watches. */
import { native } from '../native/load.ts';
import type { StoreObserver, TimelineEntry } from './observer.ts';
import type { TierUse } from './store.ts';

export class ComputeTimeline {
  readonly #observer: StoreObserver;
  #entries: TimelineEntry[] = [];
  /** When each span under way began, outermost first. */
  readonly #begun: number[] = [];
  /** On a GPU only the submission of work is seen, not when the device does it. */
  readonly #lane: 'compute' | 'submitted';
  #step = 0;
  #stepStartUs = 0;

  constructor(observer: StoreObserver, device: string) {
    this.#observer = observer;
    this.#lane = device === 'cpu' ? 'compute' : 'submitted';
  }

  get #on(): boolean {
    return this.#observer.timeline !== undefined;
  }

  /** Step `step` (from 0) begins. */
  beginStep(step: number): void {
    if (!this.#on) return;
    this.#entries = [];
    this.#begun.length = 0;
    this.#step = step + 1;
    this.#stepStartUs = native().nowUs();
  }

  begin(): void {
    if (this.#on && this.#step > 0) this.#begun.push(native().nowUs());
  }

  /** Only the outermost of nested spans is recorded: a lane has no depth. */
  end(name: () => string): void {
    const startUs = this.#begun.pop();
    if (startUs === undefined || this.#begun.length > 0) return;
    this.#add(this.#lane, name(), startUs);
  }

  endStep(uses: readonly TierUse[]): void {
    if (!this.#on) return;
    this.#add('step', `step ${this.#step}`, this.#stepStartUs);
    const counters = [{ atUs: native().nowUs(), uses }];
    this.#observer.timeline!({ entries: this.#entries, counters, dropped: 0 });
    this.#entries = [];
    // What runs between steps, such as an evaluation, is not recorded.
    this.#step = 0;
  }

  #add(lane: 'compute' | 'submitted' | 'step', name: string, startUs: number): void {
    const durationUs = native().nowUs() - startUs;
    this.#entries.push({ lane, name, startUs, durationUs, details: { step: this.#step } });
  }
}
