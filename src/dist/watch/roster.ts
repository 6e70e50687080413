/** What the hub knows of every rank, and who is to blame when something is wrong. No clock and no socket of its own. */
import { type Whereabouts, whereaboutsText } from '../../core/whereabouts.ts';
import { nameText, type Patience, type RankName, type Verdict } from './signs.ts';

interface Entry {
  readonly name: RankName;
  at: Whereabouts;
  heardMs: number;
  /** When its progress last changed. */
  movedMs: number;
  gone: boolean;
}

const nowhere: Whereabouts = { progress: 0, step: 0, unit: '', waiting: '' };

export class Roster {
  readonly #entries = new Map<number, Entry>();
  readonly #patience: Patience;

  constructor(patience: Patience) {
    this.#patience = patience;
  }

  join(name: RankName, nowMs: number): void {
    this.#entries.set(name.rank, { name, at: nowhere, heardMs: nowMs, movedMs: nowMs, gone: false });
  }

  beat(rank: number, at: Whereabouts, nowMs: number): void {
    const entry = this.#entries.get(rank);
    if (entry === undefined) return;
    if (at.progress !== entry.at.progress) entry.movedMs = nowMs;
    entry.at = at;
    entry.heardMs = nowMs;
  }

  /** The rank said goodbye; a verdict where it failed. */
  bye(rank: number, code: number, reason: string): Verdict | null {
    const entry = this.#entries.get(rank);
    if (entry === undefined || entry.gone) return null;
    entry.gone = true;
    if (code === 0) return null;
    return this.#blame(entry, `failed with exit code ${code}`, reason);
  }

  /** The line to the rank broke without a goodbye. */
  broken(rank: number): Verdict | null {
    const entry = this.#entries.get(rank);
    if (entry === undefined || entry.gone) return null;
    entry.gone = true;
    return this.#blame(entry, 'died');
  }

  /** Who has been silent, or has done nothing while others wait, for too long. */
  overdue(nowMs: number): Verdict | null {
    const entries = [...this.#entries.values()].filter(({ gone }) => !gone);
    const { silenceMs, stallMs } = this.#patience;
    const silent = entries.find(({ heardMs }) => nowMs - heardMs > silenceMs);
    if (silent !== undefined) {
      return this.#blame(silent, `has not been heard of for ${Math.round((nowMs - silent.heardMs) / 1000)} s`);
    }
    const still = entries.filter(({ movedMs }) => nowMs - movedMs > stallMs);
    const waiting = still.find(({ at }) => at.waiting !== '');
    const hung = still.find(({ at }) => at.waiting === '');
    if (hung === undefined || waiting === undefined) return null;
    const seconds = Math.round((nowMs - hung.movedMs) / 1000);
    return this.#blame(
      hung,
      `has done nothing for ${seconds} s while rank ${waiting.name.rank} waits for it in ${waiting.at.waiting}`,
    );
  }

  #blame({ name, at }: Entry, what: string, reason = ''): Verdict {
    const why = reason === '' ? '' : `: ${reason}`;
    return { rank: name.rank, text: `${nameText(name)} ${what}, ${whereaboutsText(at)}${why}` };
  }
}
