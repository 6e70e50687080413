import { TierraError } from '../core/errors.ts';
import type { Observer } from './nullDevice.ts';
import type { Program, ProgramTicket } from './program.ts';
import type { SlotId } from './types.ts';

interface Content {
  readonly kind: 'parameter' | 'gradient' | 'state';
  readonly chunk: number;
  /** Updates the values have been through; for gradients, the step they belong to. */
  readonly version: number;
  readonly part: number;
  /** Micro-batches a gradient sums. */
  readonly summed: number;
}

/**
 * Knows what every slot holds, who reads it and who writes it, and throws `E_INTERNAL` the moment a program uses what is not
 * there, overwrites what is in use, loses a gradient or updates twice. The null device runs every program under its eyes.
 */
export class SlotContents implements Observer {
  readonly #program: Program;
  readonly #contents: (Content | null)[];
  readonly #readers: Int32Array;
  readonly #written: Uint8Array;
  readonly #updates: Int32Array;
  /** Chunks that the steps update; the others keep version 0. */
  readonly #learning: ReadonlySet<number>;

  constructor(program: Program) {
    this.#program = program;
    this.#contents = program.slotTiers.map(() => null);
    this.#readers = new Int32Array(program.slotTiers.length);
    this.#written = new Uint8Array(program.slotTiers.length);
    this.#updates = new Int32Array(program.layout.chunks.length);
    const worked = program.moments
      .filter((moment) => moment.pass === 'backward')
      .flatMap((moment) => moment.parameters);
    this.#learning = new Set(
      worked.map(({ chunk }) => chunk).filter((chunk) => program.layout.chunks[chunk]!.trainable),
    );
    for (const { slot, chunk, kind } of program.rest) {
      this.#contents[slot] = { kind, chunk, version: 0, part: 0, summed: 0 };
    }
  }

  beginTicket(index: number): void {
    const ticket = this.#program.tickets[index]!;
    const who = `${ticket.cause} ticket of chunk ${ticket.chunk} (${ticket.lane}, step ${ticket.step})`;
    for (const [slot, wanted] of this.#inputs(ticket)) {
      this.#expect(slot, wanted, who);
      this.#readers[slot]!++;
    }
    for (const slot of outputs(ticket))
      this.#beginWrite(
        slot,
        who,
        this.#inputs(ticket).some(([input]) => input === slot),
      );
  }

  endTicket(index: number): void {
    const ticket = this.#program.tickets[index]!;
    const source = this.#contents[ticket.from];
    for (const [slot] of this.#inputs(ticket)) this.#readers[slot]!--;
    const { chunk, step } = ticket;
    if (ticket.cause === 'update') {
      if (++this.#updates[chunk]! !== step + 1) this.#fail(`chunk ${chunk} is updated twice in step ${step}`);
      const state = ticket.stateTo ?? ticket.from;
      this.#endWrite(state, { kind: 'state', chunk, version: step + 1, part: 0, summed: 0 });
      if (ticket.to !== state) this.#endWrite(ticket.to, newParameter(ticket));
    } else if (ticket.cause === 'preview') {
      this.#endWrite(ticket.to, newParameter(ticket));
    } else if (ticket.cause === 'accumulate') {
      const content = {
        kind: 'gradient',
        chunk,
        version: step,
        part: ticket.part,
        summed: ticket.microBatch + 1,
      } as const;
      this.#endWrite(ticket.to, content);
    } else {
      this.#endWrite(ticket.to, source ?? null);
    }
  }

  beginMoment(index: number): void {
    const moment = this.#program.moments[index]!;
    const who = `${moment.pass} moment of step ${moment.step}`;
    for (const { chunk, slot } of moment.parameters) {
      this.#expect(slot, { kind: 'parameter', chunk, version: this.#version(chunk, moment.step) }, who);
      this.#readers[slot]!++;
    }
    for (const gradient of moment.gradients) {
      if (moment.parameters.some(({ slot }) => slot === gradient.slot)) continue;
      const { chunk, part } = gradient;
      const summed = moment.microBatch;
      if (gradient.add)
        this.#expect(gradient.slot, { kind: 'gradient', chunk, version: moment.step, part, summed }, who);
      this.#beginWrite(gradient.slot, who, false);
    }
    for (const update of moment.deviceUpdates) {
      this.#expect(update.state, { kind: 'state', chunk: update.chunk, version: moment.step }, who);
      update.gradients.forEach((slot, part) => {
        const summed = this.#program.microBatches;
        this.#expect(slot, { kind: 'gradient', chunk: update.chunk, version: moment.step, part, summed }, who);
      });
    }
  }

  endMoment(index: number): void {
    const moment = this.#program.moments[index]!;
    const { step } = moment;
    for (const { slot } of moment.parameters) this.#readers[slot]!--;
    for (const { chunk, slot, part } of moment.gradients) {
      const who = `gradient of chunk ${chunk} in step ${step}`;
      if (this.#written[slot] === 0) this.#beginWrite(slot, who, false);
      const summed = moment.microBatch < 0 ? this.#program.microBatches : moment.microBatch + 1;
      this.#endWrite(slot, { kind: 'gradient', chunk, version: step, part, summed });
    }
    for (const { chunk, parameter, state } of moment.deviceUpdates) {
      if (++this.#updates[chunk]! !== step + 1) this.#fail(`chunk ${chunk} is updated twice in step ${step}`);
      this.#contents[parameter] = { kind: 'parameter', chunk, version: step + 1, part: 0, summed: 0 };
      this.#contents[state] = { kind: 'state', chunk, version: step + 1, part: 0, summed: 0 };
    }
  }

  /** After everything ran: every trainable chunk that took part in backward was updated once a step. */
  finish(): void {
    const { layout, steps } = this.#program;
    for (const chunk of layout.chunks) {
      const wanted = this.#learning.has(chunk.id) ? steps : 0;
      const had = this.#updates[chunk.id]!;
      if (had !== wanted) this.#fail(`chunk ${chunk.id} was updated ${had} times in ${steps} steps`);
    }
  }

  #inputs(ticket: ProgramTicket): readonly (readonly [SlotId, Partial<Content>])[] {
    const { chunk, step, part } = ticket;
    const summed = this.#program.microBatches;
    if (ticket.cause === 'update' || ticket.cause === 'preview') {
      return [
        [ticket.from, { kind: 'state', chunk, version: step }],
        ...ticket.gradients.map(
          (slot, use) => [slot, { kind: 'gradient', chunk, version: step, part: use, summed }] as const,
        ),
      ];
    }
    if (ticket.cause === 'accumulate') {
      const summedSoFar = ticket.microBatch + 1;
      const incoming = [ticket.from, { kind: 'gradient', chunk, version: step, part, summed: summedSoFar }] as const;
      if (!ticket.add) return [incoming];
      return [incoming, [ticket.to, { kind: 'gradient', chunk, version: step, part, summed: ticket.microBatch }]];
    }
    const updated = ticket.cause === 'home' || (ticket.cause === 'state' && ticket.lane === 'write');
    const version = this.#version(chunk, step) + (updated ? 1 : 0);
    return [[ticket.from, { kind: ticket.kind, chunk, version, part }]];
  }

  #version(chunk: number, step: number): number {
    return this.#learning.has(chunk) ? step : 0;
  }

  #expect(slot: SlotId, wanted: Partial<Content>, who: string): void {
    const content = this.#contents[slot];
    if (this.#written[slot] === 1) this.#fail(`${who} reads slot ${slot} while it is being written`);
    const fits =
      content != null && Object.entries(wanted).every(([key, value]) => content[key as keyof Content] === value);
    if (!fits)
      this.#fail(`${who} needs ${JSON.stringify(wanted)} in slot ${slot} and finds ${JSON.stringify(content)}`);
  }

  #beginWrite(slot: SlotId, who: string, ownReader: boolean): void {
    if (this.#written[slot] === 1) this.#fail(`${who} writes slot ${slot} while it is being written`);
    if (this.#readers[slot]! > (ownReader ? 1 : 0)) this.#fail(`${who} writes slot ${slot} while it is being read`);
    this.#written[slot] = 1;
  }

  #endWrite(slot: SlotId, content: Content | null): void {
    this.#written[slot] = 0;
    this.#contents[slot] = content;
  }

  #fail(message: string): never {
    throw new TierraError('E_INTERNAL', `null device: ${message}`);
  }
}

const newParameter = ({ chunk, step }: ProgramTicket) =>
  ({ kind: 'parameter', chunk, version: step + 1, part: 0, summed: 0 }) as const;

function outputs(ticket: ProgramTicket): readonly SlotId[] {
  return ticket.cause === 'update' ? [...new Set([ticket.stateTo ?? ticket.from, ticket.to])] : [ticket.to];
}
