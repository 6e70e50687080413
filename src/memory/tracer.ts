import { TierraError } from '../core/errors.ts';
import type { Layout } from './layout.ts';
import { type Accumulation, type Moment, type Pass, stepSignature, type Trace } from './trace.ts';

/** Numbers the moments of a step: ticks when a unit is entered, starts again with every step. */
export class Metronome {
  #moment = -1;
  #step = -1;

  /** The moment now, or -1 before the first. */
  get moment(): number {
    return this.#moment;
  }

  get step(): number {
    return this.#step;
  }

  startStep(): void {
    this.#moment = -1;
    this.#step++;
  }

  tick(): number {
    return ++this.#moment;
  }
}

export interface TracerOptions {
  readonly layout: Layout;
  readonly mode: 'training' | 'forward';
  readonly accumulation: Accumulation;
  readonly microBatches: number;
  /** What else decides the step's course: shapes, activation policy. Goes into the signature. */
  readonly course: unknown;
}

interface OpenMoment {
  readonly pass: Pass;
  readonly unit: number;
  readonly microBatch: number;
}

/** Records one step, moment by moment. Throws `E_STATE` when moments are opened or closed out of turn. */
export class Tracer {
  readonly #options: TracerOptions;
  readonly #metronome = new Metronome();
  readonly #moments: Moment[] = [];
  #open: OpenMoment | null = null;

  constructor(options: TracerOptions) {
    this.#options = options;
    this.#metronome.startStep();
  }

  /** A unit is entered (`unit` -1 for `norm` and `update`). Returns the moment's number. */
  enter(pass: Pass, unit: number, microBatch: number): number {
    if (this.#open !== null) {
      throw new TierraError(
        'E_STATE',
        `tracer: ${pass} of unit ${unit} begins inside ${this.#open.pass} of unit ${this.#open.unit}`,
      );
    }
    this.#open = { pass, unit, microBatch };
    return this.#metronome.tick();
  }

  /** The unit is left; `seconds` is compute time without waiting, `nonModelBytes` the peak since `enter`. */
  leave(measured: { readonly seconds: number; readonly nonModelBytes: number }): void {
    const open = this.#open;
    if (open === null) throw new TierraError('E_STATE', 'tracer: a moment ends that never began');
    this.#open = null;
    const chunks = open.unit < 0 ? [] : (this.#options.layout.chunksOfUnit[open.unit] ?? []);
    this.#moments.push({ index: this.#metronome.moment, ...open, chunks, ...measured });
  }

  finish(): Trace {
    if (this.#open !== null)
      throw new TierraError('E_STATE', `tracer: the step ends inside ${this.#open.pass} of unit ${this.#open.unit}`);
    const { layout, mode, accumulation, microBatches, course } = this.#options;
    const order = this.#moments.map(({ pass, unit, microBatch }) => [pass, unit, microBatch]);
    const signature = stepSignature([layout.hash, mode, accumulation, microBatches, order, course]);
    return { version: 1, signature, mode, accumulation, microBatches, moments: this.#moments };
  }
}
