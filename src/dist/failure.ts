/** Who failed first? Ranks tell each other in the store, so that every message names the cause and not its echo. */
import { TierraError } from '../core/errors.ts';
import { sleepSync } from '../core/sleep.ts';
import type { Group } from './group.ts';
import type { Store } from './store.ts';
import type { Watch } from './watch/watch.ts';

/** How long a failing rank waits for word from the others. */
const patienceSeconds = 2;

interface Report {
  readonly rank: number;
  readonly message: string;
}

/** How long the news of a lost peer may be behind the collective that broke with it. */
const verdictMs = 3_000;

/**
 * Reports `error` and adds who is lost, as the watch knows, or what the others reported: the first failure, or which ranks are
 * silent.
 */
export function explainFailure(
  error: TierraError,
  group: Group,
  rank: number,
  store: Store,
  watch: Watch | null,
): TierraError {
  const verdict = watch?.verdict(verdictMs) ?? null;
  const heard =
    verdict === null
      ? hearOthers(error, group, rank, store)
      : { text: `The cause: ${verdict.text}`, details: { lostRank: verdict.rank } };
  if (heard === null) return error;
  const details = { ...error.details, ...heard.details };
  const { hint, cause } = error;
  return new TierraError(error.code, `${error.message}. ${heard.text}`, {
    details,
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}

function hearOthers(
  error: TierraError,
  group: Group,
  rank: number,
  store: Store,
): { text: string; details: Record<string, unknown> } | null {
  try {
    store.set(`failed/${rank}`, error.message);
    if (store.add('failures', 1) === 1) store.set('failed/first', JSON.stringify({ rank, message: error.message }));
    const first = JSON.parse(store.get('failed/first', patienceSeconds)) as Report;
    if (first.rank !== rank) {
      return {
        text: `Rank ${first.rank} was the first to report: ${first.message}`,
        details: { firstRank: first.rank, firstMessage: first.message },
      };
    }
    const silent = silentRanks(group, store);
    if (silent.length === 0) return null;
    return { text: `No word from ${silent.length === 1 ? 'rank' : 'ranks'} ${silent.join(', ')}`, details: { silent } };
  } catch {
    return {
      text: 'The store where ranks meet is gone too: the process that serves it (rank 0, or the launcher) has ended',
      details: { storeGone: true },
    };
  }
}

function silentRanks(group: Group, store: Store): number[] {
  const deadline = Date.now() + patienceSeconds * 1000;
  let silent = [...group.ranks];
  while (true) {
    silent = silent.filter((rank) => !store.has(`failed/${rank}`));
    if (silent.length === 0 || Date.now() > deadline) return silent;
    sleepSync(50);
  }
}
