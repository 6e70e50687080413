import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { check, TierraError } from '../core/errors.ts';

/** Something that took time, on one lane of the timeline. */
export interface TraceSpan {
  readonly lane: string;
  readonly name: string;
  readonly startUs: number;
  readonly durationUs: number;
  readonly args?: Readonly<Record<string, unknown>>;
}

/** Values at one moment, drawn as a stacked graph. */
export interface TraceCounter {
  readonly name: string;
  readonly atUs: number;
  readonly values: Readonly<Record<string, number>>;
}

export interface TraceOptions {
  /** Number and name of the process in the timeline; ranks of one run differ here. */
  readonly process?: { readonly id: number; readonly name: string };
  /** Lanes in the order in which they are to be shown; others follow as they appear. */
  readonly lanes?: readonly string[];
}

const flushCharacters = 256 * 1024;

/**
 * Writes a timeline in the Trace Event Format's array form, for ui.perfetto.dev and chrome://tracing.
 * Events go to the file as they come, so memory stays flat and a run that dies leaves a file that both still read.
 * https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
 */
export class TraceWriter implements Disposable {
  readonly path: string;
  readonly #pid: number;
  readonly #lanes = new Map<string, number>();
  #file: number | undefined;
  #buffer = '[\n';
  #first = true;

  /** Creates the file and the folders above it. Throws `E_IO` when that fails. */
  constructor(path: string, options: TraceOptions = {}) {
    this.path = path;
    this.#pid = options.process?.id ?? 0;
    this.#file = this.#attempt(() => {
      mkdirSync(dirname(path), { recursive: true });
      return openSync(path, 'w');
    });
    this.#metadata('process_name', 0, { name: options.process?.name ?? 'tierra' });
    for (const lane of options.lanes ?? []) this.#thread(lane);
  }

  span({ lane, name, startUs, durationUs, args }: TraceSpan): void {
    check(
      Number.isFinite(startUs) && durationUs >= 0,
      `span ${name}: starts at ${startUs} us and lasts ${durationUs} us`,
    );
    const tid = this.#thread(lane);
    this.#event({ ph: 'X', name, cat: lane, pid: this.#pid, tid, ts: startUs, dur: durationUs, ...(args && { args }) });
  }

  counter({ name, atUs, values }: TraceCounter): void {
    check(Number.isFinite(atUs), `counter ${name}: at ${atUs} us`);
    this.#event({ ph: 'C', name, pid: this.#pid, tid: 0, ts: atUs, args: values });
  }

  /** Completes the file. Throws `E_IO` when the last bytes cannot be written; may be called more than once. */
  close(): void {
    if (this.#file === undefined) return;
    this.#buffer += '\n]\n';
    try {
      this.#flush();
    } finally {
      closeSync(this.#file);
      this.#file = undefined;
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #thread(lane: string): number {
    const known = this.#lanes.get(lane);
    if (known !== undefined) return known;
    const tid = this.#lanes.size + 1;
    this.#lanes.set(lane, tid);
    this.#metadata('thread_name', tid, { name: lane });
    this.#metadata('thread_sort_index', tid, { sort_index: tid });
    return tid;
  }

  #metadata(name: string, tid: number, args: Readonly<Record<string, unknown>>): void {
    this.#event({ ph: 'M', name, pid: this.#pid, tid, args });
  }

  #event(event: Readonly<Record<string, unknown>>): void {
    if (this.#file === undefined) {
      throw new TierraError('E_STATE', `the timeline ${this.path} is closed`);
    }
    this.#buffer += `${this.#first ? '' : ',\n'}${JSON.stringify(event)}`;
    this.#first = false;
    if (this.#buffer.length >= flushCharacters) this.#flush();
  }

  #flush(): void {
    const bytes = Buffer.from(this.#buffer);
    this.#buffer = '';
    this.#attempt(() => {
      for (let written = 0; written < bytes.length; ) written += writeSync(this.#file!, bytes, written);
    });
  }

  #attempt<Result>(action: () => Result): Result {
    try {
      return action();
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new TierraError('E_IO', `cannot write the timeline ${this.path}: ${reason}`, {
        hint: 'Check the folder, its permissions and the free space, or run without --trace.',
        details: { path: this.path },
        cause,
      });
    }
  }
}
