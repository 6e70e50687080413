/** What ranks tell each other outside of collectives: one JSON object a line between each rank and rank 0's hub. */
import type { Whereabouts } from '../../core/whereabouts.ts';

export interface RankName {
  readonly rank: number;
  readonly host: string;
  readonly pid: number;
}

export type ToHub =
  | { readonly kind: 'hello'; readonly token: string; readonly name: RankName }
  | { readonly kind: 'beat'; readonly at: Whereabouts }
  /** The rank ends: well with code 0, otherwise with the reason. */
  | { readonly kind: 'bye'; readonly code: number; readonly reason: string };

export type FromHub =
  /** Where rank 0 is, so that the others can say it when they lose it. */
  | { readonly kind: 'beat'; readonly name: RankName; readonly at: Whereabouts }
  | { readonly kind: 'lost'; readonly verdict: Verdict }
  /** Rank 0 ends well; nobody watches any more. */
  | { readonly kind: 'bye' };

/** Who brought the job down, in words. */
export interface Verdict {
  readonly rank: number;
  readonly text: string;
}

export interface Patience {
  readonly beatMs: number;
  /** Silence after which a rank counts as lost. */
  readonly silenceMs: number;
  /** How long a rank may do nothing while others wait for it. */
  readonly stallMs: number;
  /** Given to a rank's main thread to end by itself after a verdict. */
  readonly graceMs: number;
}

export const usualPatience: Patience = { beatMs: 1_000, silenceMs: 10_000, stallMs: 600_000, graceMs: 3_000 };

export const nameText = ({ rank, host, pid }: RankName): string => `rank ${rank} (process ${pid} on ${host})`;
