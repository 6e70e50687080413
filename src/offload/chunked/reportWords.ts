/** Tickets in the words of the timeline and of the report. */
import type { Cause, Lane, Ticket } from '../../memory/index.ts';

const words: Readonly<Record<Cause, Partial<Record<Lane, string>>>> = {
  fetch: { read: 'parameters from disk', toDevice: 'parameters to gpu' },
  gradient: { toHost: 'gradients to cpu' },
  accumulate: { update: 'sum of gradients' },
  park: { read: 'gradients from disk', write: 'gradients to disk' },
  state: { read: 'states from disk', write: 'states to disk' },
  update: { update: 'optimizer' },
  preview: { update: 'optimizer (preview)' },
  home: { write: 'parameters to disk' },
  activation: {
    toHost: 'activations to cpu',
    toDevice: 'activations to gpu',
    read: 'activations from disk',
    write: 'activations to disk',
  },
};

/** What a device waits for when all bytes are there: the next work has not been submitted. */
export const hostWords = 'the host';

/** What a ticket does, such as `states from disk`. */
export const ticketWords = ({ cause, lane }: Pick<Ticket, 'cause' | 'lane'>): string =>
  words[cause]?.[lane] ?? `${cause} ${lane}`;
