/**
 * Where this process is in its work, for whoever must name it when it dies or hangs: the step, the unit, the collective
 * it waits for. Notes are a few writes into memory that another thread reads.
 */
const words = { progress: 0, step: 1, waitingSince: 2, unitLength: 3, waitingLength: 4 } as const;
const headBytes = 32;
const textBytes = 128;

export const whereaboutsBytes = headBytes + 2 * textBytes;

export interface Whereabouts {
  /** Grows with every note: the same number for long means that nothing happens. */
  readonly progress: number;
  /** The optimizer step under way, from 1; 0 before the first. */
  readonly step: number;
  readonly unit: string;
  /** The collective it waits for, or an empty text. */
  readonly waiting: string;
}

/** Read by other threads while it is written: a text may be torn in the rare moment of a note. */
const memory = new SharedArrayBuffer(whereaboutsBytes);
const head = new Int32Array(memory, 0, headBytes / 4);
const encoder = new TextEncoder();

export const whereaboutsMemory: SharedArrayBuffer = memory;

export function noteStep(step: number): void {
  head[words.step] = step;
  write(words.unitLength, '');
}

export function noteUnit(unit: string): void {
  write(words.unitLength, unit);
}

/** Notes what `wait` waits for while it does. */
export function whileWaiting<T>(what: string, wait: () => T): T {
  write(words.waitingLength, what);
  try {
    return wait();
  } finally {
    write(words.waitingLength, '');
  }
}

function write(word: number, text: string): void {
  const offset = word === words.unitLength ? headBytes : headBytes + textBytes;
  // Texts must not be decoded from shared memory, but may be encoded into it.
  head[word] = encoder.encodeInto(text, new Uint8Array(memory, offset, textBytes)).written;
  Atomics.add(head, words.progress, 1);
}

export function readWhereabouts(shared: SharedArrayBuffer): Whereabouts {
  const from = new Int32Array(shared, 0, headBytes / 4);
  const text = (word: number, offset: number): string =>
    new TextDecoder().decode(new Uint8Array(shared, offset, Math.min(textBytes, from[word]!)).slice());
  return {
    progress: Atomics.load(from, words.progress),
    step: from[words.step]!,
    unit: text(words.unitLength, headBytes),
    waiting: text(words.waitingLength, headBytes + textBytes),
  };
}

/** `step 12, unit blocks.3, in allReduce of "all"`. */
export function whereaboutsText({ step, unit, waiting }: Omit<Whereabouts, 'progress'>): string {
  const parts = [
    step === 0 ? 'before the first step' : `step ${step}`,
    ...(unit === '' ? [] : [`unit ${unit}`]),
    ...(waiting === '' ? [] : [`in ${waiting}`]),
  ];
  return parts.join(', ');
}
