/**
 * What a copy of a chunk may be, and what may happen to it: one table per kind, one copy per tier.
 */
import { TierraError } from '../core/errors.ts';

/** A parameter chunk's copy on one tier. */
export type ParameterState =
  | 'absent' // no bytes here
  | 'fetching' // bytes reserved, contents on their way in
  | 'resident' // valid, nobody uses it
  | 'inUse' // pinned: a unit computes with it, or a transfer reads it
  | 'gradient' // the bytes now hold the gradient
  | 'leaving' // contents on their way out; the bytes still count
  | 'stale'; // a home whose contents were overtaken: its gradient exists, or a newer parameter elsewhere

export type ParameterEvent =
  | 'fetch'
  | 'arrive'
  | 'fail'
  | 'pin'
  | 'unpin'
  | 'becomeGradient'
  | 'receiveGradient'
  | 'updated'
  | 'leave'
  | 'left'
  | 'overtake'
  | 'drop';

/** A state chunk's copy on one tier. */
export type StateState =
  | 'absent'
  | 'reading' // from disk into staging
  | 'resident' // valid, nobody uses it
  | 'updating' // the optimizer reads or writes it
  | 'candidate' // new values of a speculated update, not committed
  | 'dirty' // new values, final; the home on disk is behind
  | 'writing'; // staging to disk

export type StateEvent =
  | 'read'
  | 'arrive'
  | 'fail'
  | 'update'
  | 'updatedInPlace'
  | 'updatedStaged'
  | 'speculated'
  | 'fill'
  | 'commit'
  | 'reject'
  | 'write'
  | 'written'
  | 'drop';

export type Table<State extends string, Event extends string> = Readonly<
  Record<State, Readonly<Partial<Record<Event, State>>>>
>;

export const parameterTable: Table<ParameterState, ParameterEvent> = {
  absent: { fetch: 'fetching', receiveGradient: 'gradient', updated: 'resident' },
  fetching: { arrive: 'resident', fail: 'absent' },
  resident: { pin: 'inUse', leave: 'leaving', overtake: 'stale', drop: 'absent' },
  inUse: { pin: 'inUse', unpin: 'resident', becomeGradient: 'gradient' },
  gradient: { leave: 'leaving', updated: 'resident', drop: 'absent' },
  leaving: { left: 'absent', fail: 'resident' },
  stale: { fetch: 'fetching', receiveGradient: 'gradient', updated: 'resident', drop: 'absent' },
};

export const stateTable: Table<StateState, StateEvent> = {
  absent: { read: 'reading', fill: 'resident', speculated: 'candidate' },
  reading: { arrive: 'resident', fail: 'absent' },
  resident: { update: 'updating', drop: 'absent' },
  updating: { updatedInPlace: 'resident', updatedStaged: 'dirty', speculated: 'candidate' },
  candidate: { commit: 'resident', reject: 'absent', write: 'writing' },
  dirty: { write: 'writing' },
  writing: { written: 'absent', fail: 'dirty' },
};

/** The state after `event`. Throws `E_STATE` naming state, event and the events that would be legal. */
export function transition<State extends string, Event extends string>(
  table: Table<State, Event>,
  state: State,
  event: Event,
  who: string,
): State {
  const next = table[state][event];
  if (next === undefined) {
    const wanted = Object.entries<Readonly<Partial<Record<Event, State>>>>(table)
      .filter(([, events]) => events[event] !== undefined)
      .map(([from]) => from);
    throw new TierraError(
      'E_STATE',
      `${who} is ${state}; ${event} needs it to be ${wanted.join(' or ') || 'something else'}`,
      {
        hint: `From ${state} it can only: ${Object.keys(table[state]).join(', ')}.`,
        details: { who, state, event, wanted },
      },
    );
  }
  return next;
}

/** One copy and its state, checked at every move. */
export class ChunkCopy<State extends string, Event extends string> {
  readonly #table: Table<State, Event>;
  readonly #who: string;
  #state: State;

  constructor(table: Table<State, Event>, who: string, initial: State) {
    this.#table = table;
    this.#who = who;
    this.#state = initial;
  }

  get state(): State {
    return this.#state;
  }

  move(event: Event): State {
    this.#state = transition(this.#table, this.#state, event, this.#who);
    return this.#state;
  }
}
