/**
 * What a launcher and the agent on each host say to each other: one JSON object a line, over the agent's stdin and
 * stdout, which ssh carries as they are. An agent whose stdin ends kills its ranks and leaves.
 */
export interface RankStart {
  readonly rank: number;
  readonly env: Readonly<Record<string, string>>;
}

export type ToAgent =
  /** Take a free port for rank 0, on loopback or on every interface; answered by `listening`. */
  | { readonly kind: 'listen'; readonly loopback: boolean }
  | {
      readonly kind: 'start';
      readonly argv: readonly string[];
      readonly folder: string;
      readonly ranks: readonly RankStart[];
      readonly env: Readonly<Record<string, string>>;
    }
  | { readonly kind: 'signal'; readonly name: 'SIGINT' | 'SIGTERM' | 'SIGKILL' }
  /** SIGTERM now, SIGKILL after `graceMs`. */
  | { readonly kind: 'stop'; readonly graceMs: number }
  /** Says that the launcher is there; an agent that hears nothing for long ends its ranks. */
  | { readonly kind: 'ping' };

export type Stream = 'stdout' | 'stderr';

export type FromAgent =
  | { readonly kind: 'hello'; readonly version: string; readonly host: string }
  | { readonly kind: 'listening'; readonly port: number }
  | { readonly kind: 'started' }
  | { readonly kind: 'line'; readonly rank: number; readonly stream: Stream; readonly text: string }
  /** A rank says why it leaves before it does: the failure of a peer is not its own. */
  | { readonly kind: 'leaving'; readonly rank: number; readonly reason: string }
  | { readonly kind: 'exit'; readonly rank: number; readonly code: number }
  | { readonly kind: 'failed'; readonly message: string };

export const pingMs = 5_000;
export const silenceMs = 60_000;

export const encode = (message: ToAgent | FromAgent): string => `${JSON.stringify(message)}\n`;
