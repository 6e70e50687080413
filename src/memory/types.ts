/**
 * Words that every file of `memory` shares. Everything here is plain data: no I/O, no CUDA, no clock.
 */
import type { Brand } from '../core/brands.ts';
import type { StateFormat } from './statePlanes.ts';

/** Index of a chunk in `Layout.chunks`. A parameter chunk and its state chunk share it. */
export type ChunkId = Brand<'ChunkId'>;
/** Index of a ticket in `Plan.tickets`. */
export type TicketId = Brand<'TicketId'>;
/** Index of a slot in `Plan.slots`. */
export type SlotId = Brand<'SlotId'>;

export const chunkId = (index: number): ChunkId => index as ChunkId;
export const ticketId = (index: number): TicketId => index as TicketId;
export const slotId = (index: number): SlotId => index as SlotId;

export type Tier = 'gpu' | 'host' | 'nvme';
export const tiers: readonly Tier[] = ['gpu', 'host', 'nvme'];

/** One number of bytes (or anything else) per tier. */
export type PerTier<T = number> = Readonly<Record<Tier, T>>;

/** What a chunk's bytes are. A gradient lives in its parameter chunk's place or in a place of its own. */
export type Kind = 'parameter' | 'gradient' | 'state';

/** Element sizes: `computeBytes` of parameters and gradients, `stateBytes` of accumulators and of exact masters and moments. */
export interface ElementBytes {
  readonly computeBytes: 2 | 4 | 8;
  readonly stateBytes: 4 | 8;
  /** How states are kept; default exact. */
  readonly states?: StateFormat;
}
