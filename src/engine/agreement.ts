/** Work that one rank does for all, or all do together: they end alike, also where it fails on one of them. */
import { isTierraError, TierraError } from '../core/errors.ts';
import type { Peers } from './ranks.ts';

interface Failure {
  readonly code: TierraError['code'];
  readonly message: string;
  readonly hint?: string;
}

type Told<Value> = { readonly value: Value } | { readonly failure: Failure };

const failureOf = (error: unknown): Failure => ({
  code: isTierraError(error) ? error.code : 'E_INTERNAL',
  message: error instanceof Error ? error.message : String(error),
  ...(isTierraError(error) && error.hint !== undefined ? { hint: error.hint } : {}),
});

const raised = ({ code, message, hint }: Failure): TierraError =>
  new TierraError(code, message, hint === undefined ? {} : { hint });

/** Runs `body` on the first rank alone; all return its result, which is plain JSON, or throw its error. */
export async function onFirstRank<Value>(ranks: Peers, body: () => Value | Promise<Value>): Promise<Value> {
  if (ranks.size === 1) return body();
  let told: Told<Value> | null = null;
  let thrown: unknown = null;
  if (ranks.rank === 0) {
    try {
      told = { value: await body() };
    } catch (error) {
      thrown = error;
      told = { failure: failureOf(error) };
    }
  }
  const [heard] = ranks.exchange(told);
  if (thrown !== null) throw thrown;
  if ('failure' in heard!) throw raised(heard.failure);
  return heard!.value;
}

/** Runs `body` on every rank; when it fails on one of them all throw, the others with that rank's message. */
export async function onAllRanks<Value>(ranks: Peers, body: () => Value | Promise<Value>): Promise<Value> {
  if (ranks.size === 1) return body();
  let value: Value | undefined;
  let thrown: unknown = null;
  try {
    value = await body();
  } catch (error) {
    thrown = error;
  }
  const failures = ranks.exchange(thrown === null ? null : failureOf(thrown));
  if (thrown !== null) throw thrown;
  const rank = failures.findIndex((failure) => failure !== null);
  if (rank >= 0) {
    const failure = failures[rank]!;
    throw raised({ ...failure, message: `rank ${rank}: ${failure.message}` });
  }
  return value as Value;
}
