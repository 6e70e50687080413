/**
 * Parameters of the next visit, read while this one is under way: a layer that sends them to other ranks can do so ahead of
 * time. Possible where their copies to the compute device wait for no moment that is not over by then.
 */
import type { Plan, PlannedMoment, TicketId } from '../../memory/index.ts';

/** The copies that bring a moment's parameters. */
export function arrivals({ tickets }: Plan, { waits, parameters }: PlannedMoment): TicketId[] {
  return waits.filter((id) => {
    const { kind, chunk, to } = tickets[id]!;
    return kind === 'parameter' && parameters.some((each) => each.chunk === chunk && each.slot === to.slot);
  });
}

/** By moment: whether the parameters of the next one can be there before this one is over. */
export function glancesOf(plan: Plan): boolean[] {
  const { moments, tickets } = plan;
  /** The last moment that must be over before a ticket can be done. */
  const latest = new Map<TicketId, number>();
  const latestOf = (id: TicketId): number => {
    const known = latest.get(id);
    if (known !== undefined) return known;
    const { after, afterMoment } = tickets[id]!;
    const found = after.reduce((most, earlier) => Math.max(most, latestOf(earlier)), afterMoment);
    latest.set(id, found);
    return found;
  };
  return moments.map(({ index }) => {
    const next = moments[index + 1];
    if (next === undefined || (next.pass !== 'forward' && next.pass !== 'backward')) return false;
    return arrivals(plan, next).every((id) => latestOf(id) < index);
  });
}
