/** Watching the other ranks, whatever started them, outside of the collectives and of this thread. */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { formatError, TierraError } from '../../core/errors.ts';
import { whereaboutsMemory } from '../../core/whereabouts.ts';
import type { World } from '../world.ts';
import { type Patience, type RankName, usualPatience, type Verdict } from './signs.ts';
import { startWorker } from './startWorker.ts';
import { type FromMain, state, verdictBytes } from './threads.ts';

/** What a watch needs of the store where ranks meet. */
export interface MeetingPlace {
  set(key: string, value: string): void;
  get(key: string): string;
}

export interface Watch {
  /** Who brought the job down, waiting for the news for up to `patienceMs`; null where nobody is known to be lost. */
  verdict(patienceMs: number): Verdict | null;
  /** This rank is done; its end is no loss to the others any more. */
  leave(): void;
}

const startMs = 60_000;
const byeMs = 3_000;

/**
 * Starts to watch and to be watched. From here on, a rank that dies, falls silent or stands still ends this process within
 * seconds, with a line on stderr that names it. Throws `E_PEER` where rank 0's hub cannot be reached.
 */
export function watchPeers(world: World, store: MeetingPlace, patience: Patience = patienceFrom(process.env)): Watch {
  const name: RankName = { rank: world.rank, host: hostname(), pid: process.pid };
  const shared = new SharedArrayBuffer(state.words * 4 + verdictBytes);
  const words = new Int32Array(shared, 0, state.words);
  const agentFd = process.env.TIERRA_AGENT_FD === undefined ? null : Number(process.env.TIERRA_AGENT_FD);
  const worker = startWorker({ name, patience, whereabouts: whereaboutsMemory, shared, agentFd });
  worker.unref();
  const tell = (message: FromMain): void => worker.postMessage(message);
  const answered = (word: number, ms: number): number => {
    Atomics.wait(words, word, 0, ms);
    return Atomics.load(words, word);
  };

  const { host, port, token } = findHub(world, store, (token, loopback) => {
    tell({ kind: 'hub', token, loopback });
    return answered(state.hubPort, startMs);
  });
  tell({ kind: 'line', host, port, token });
  if (answered(state.joined, startMs) === 0) {
    throw new TierraError(
      'E_PEER',
      `rank ${world.rank} cannot reach rank 0 at ${host}:${port} to watch over each other`,
      {
        hint: 'A firewall between the hosts may be in the way: ranks need free TCP connections among each other.',
      },
    );
  }

  let left = false;
  let reason = '';
  const leave = (code: number): void => {
    if (left) return;
    left = true;
    process.off('exit', leave).off('uncaughtExceptionMonitor', remember);
    tell({ kind: 'bye', code, reason });
    answered(state.left, byeMs);
  };
  const remember = (error: unknown): void => {
    reason = formatError(error).split('\n')[0]!;
  };
  process.on('exit', leave).on('uncaughtExceptionMonitor', remember);

  return {
    verdict(patienceMs) {
      const rank = answered(state.verdict, patienceMs) - 1;
      if (rank < 0) return null;
      const length = Atomics.load(words, state.verdictLength);
      const text = new TextDecoder().decode(new Uint8Array(shared, state.words * 4, length).slice());
      return { rank, text };
    },
    leave: () => leave(0),
  };
}

interface Place {
  readonly host: string;
  readonly port: number;
  readonly token: string;
}

/** Rank 0 opens the hub and leaves its address in the store; a random token keeps strangers out. */
function findHub(world: World, store: MeetingPlace, open: (token: string, loopback: boolean) => number): Place {
  const loopback = world.localSize === world.size;
  const host = loopback || world.rank === 0 ? '127.0.0.1' : world.rendezvous!.host;
  if (world.rank !== 0) return { ...(JSON.parse(store.get('watch')) as { port: number; token: string }), host };
  const token = randomBytes(16).toString('hex');
  const port = open(token, loopback);
  if (port === 0) throw new TierraError('E_PEER', 'rank 0 cannot open a port to watch over the others');
  store.set('watch', JSON.stringify({ port, token }));
  return { host, port, token };
}

/** `TIERRA_SILENCE_SECONDS` and `TIERRA_STALL_SECONDS`, for slow networks and long pauses. */
export function patienceFrom(env: Readonly<Record<string, string | undefined>>): Patience {
  const milliseconds = (name: string, otherwise: number): number => {
    const text = env[name];
    if (text === undefined || text === '') return otherwise;
    const seconds = Number(text);
    if (seconds > 0 && Number.isFinite(seconds)) return seconds * 1000;
    throw new TierraError('E_CONFIG', `${name}=${text} is not a number of seconds above 0`);
  };
  return {
    ...usualPatience,
    silenceMs: milliseconds('TIERRA_SILENCE_SECONDS', usualPatience.silenceMs),
    stallMs: milliseconds('TIERRA_STALL_SECONDS', usualPatience.stallMs),
  };
}
