/**
 * When to record a micro-batch as a graph, and when to replay one: decided from what micro-batches are like and how long
 * the host took over them. Knows nothing of tensors and devices.
 */

/**
 * `plain`: as always. `timed`: as always, between two waits for the device, with `timed` called afterwards. `record`: record a graph
 * and replay it, then `recorded` or `failed`. `replay`: the graph that is there.
 */
export type Turn = 'plain' | 'timed' | 'record' | 'replay';

export interface MicroBatchTimes {
  /** From the first launch to the last, on the host. */
  readonly submitSeconds: number;
  /** How much longer the device was busy. */
  readonly waitSeconds: number;
}

/** Micro-batches of one kind, in a row, before the first graph. The first loads kernels, the last two are timed. */
const patience = 3;
/** The same before another: recording takes as long as a few micro-batches, and must not happen all the time. */
const laterPatience = 10;
/** A device that needs less than this share longer than the host has stood still in between, waiting for launches. */
const hiddenShare = 0.1;

export class GraphPolicy {
  readonly #mode: 'auto' | 'always';
  /** What the micro-batches seen last are like, and how many of them came in a row. */
  #kind: string | null = null;
  #inARow = 0;
  /** Whether the timed ones of them waited for launches. */
  #launchBound = true;
  #recordedKind: string | null = null;
  #recordings = 0;
  #givenUp = false;

  constructor(mode: 'auto' | 'always') {
    this.#mode = mode;
  }

  /** The next micro-batch: `kind` is equal only for those that one graph can stand for, null for those that none can. */
  next(kind: string | null): Turn {
    if (kind === null) return 'plain';
    if (kind === this.#recordedKind) return 'replay';
    if (this.#givenUp) return 'plain';
    if (kind !== this.#kind) {
      this.#kind = kind;
      this.#inARow = 0;
      this.#launchBound = true;
    }
    this.#inARow++;
    const before = this.#recordings === 0 ? patience : laterPatience;
    if (this.#inARow > before) return this.#launchBound ? 'record' : 'plain';
    return this.#mode === 'auto' && this.#inARow > before - 2 ? 'timed' : 'plain';
  }

  timed({ submitSeconds, waitSeconds }: MicroBatchTimes): void {
    if (waitSeconds > hiddenShare * (submitSeconds + waitSeconds)) this.#launchBound = false;
  }

  /** The graph of the last `record` is there, in place of any before. */
  recorded(): void {
    this.#recordedKind = this.#kind;
    this.#recordings++;
    this.#inARow = 0;
  }

  /** What cannot be recorded once will not be tried again. */
  failed(): void {
    this.#recordedKind = null;
    this.#givenUp = true;
  }
}
