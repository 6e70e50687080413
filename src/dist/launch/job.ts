/** A job of several ranks, started again after failures as often as asked. */
import { TierraError } from '../../core/errors.ts';
import { type AttemptEnd, type AttemptIo, type AttemptPlan, exitText, runAttempt } from './attempt.ts';
import { placeRanks, type Slot } from './slots.ts';

export interface JobPlan extends Omit<AttemptPlan, 'places' | 'restart'> {
  readonly slots: readonly Slot[];
  /** How often to start again after a failure. */
  readonly restarts: number;
  /** The fewest ranks to start again with. */
  readonly minRanks: number;
}

/** Resolves to the exit code: 0, or that of the rank that failed first in the last attempt. */
export async function runJob(plan: JobPlan, io: AttemptIo): Promise<number> {
  let slots = plan.slots;
  let blamed: Slot | null = null;
  for (let restart = 0; ; restart++) {
    const end = await runAttempt({ ...plan, places: placeRanks(slots), restart }, io);
    if (end.code === 0 || end.signalled || restart >= plan.restarts) return end.code;
    const next = slotsAfter(slots, end, blamed, plan.minRanks);
    if (next.length < plan.minRanks) {
      io.note(`${next.length} of ${slots.length} ranks are left, fewer than --min-ranks ${plan.minRanks}`);
      return end.code;
    }
    io.note(
      `restart ${restart + 1} of ${plan.restarts}, on ${next.length} ranks (rank ${end.failed?.rank} ended with ${exitText(end.code)})`,
    );
    blamed = slotOf(end);
    slots = next;
  }
}

/** Without lost hosts, and without a place that failed first twice in a row where fewer ranks are allowed. */
export function slotsAfter(
  slots: readonly Slot[],
  end: Pick<AttemptEnd, 'failed' | 'lostHosts'>,
  blamedBefore: Slot | null,
  minRanks: number,
): Slot[] {
  const reachable = slots.filter(({ host }) => !end.lostHosts.includes(host));
  const culprit = slotOf(end);
  if (culprit === null || blamedBefore === null || !sameSlot(culprit, blamedBefore)) return reachable;
  const others = reachable.filter((slot) => !sameSlot(slot, culprit));
  return others.length >= minRanks && others.length > 0 ? others : reachable;
}

const slotOf = ({ failed }: Pick<AttemptEnd, 'failed'>): Slot | null =>
  failed === null ? null : { host: failed.host, slot: failed.slot };

const sameSlot = (a: Slot, b: Slot): boolean => a.host === b.host && a.slot === b.slot;

export function checkRanks(count: number, minRanks: number): void {
  if (minRanks <= count) return;
  throw new TierraError('E_LAUNCH', `--min-ranks ${minRanks} exceeds the ${count} ranks that are started`);
}
