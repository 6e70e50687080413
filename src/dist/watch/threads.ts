/** What the main thread and the watching one share. */
export type FromMain =
  | { readonly kind: 'hub'; readonly token: string; readonly loopback: boolean }
  | { readonly kind: 'line'; readonly host: string; readonly port: number; readonly token: string }
  | { readonly kind: 'bye'; readonly code: number; readonly reason: string };

/** Positions of 32-bit words; the verdict's text follows them. */
export const state = { hubPort: 0, joined: 1, left: 2, verdict: 3, verdictLength: 4, words: 8 } as const;

export const verdictBytes = 4096;
