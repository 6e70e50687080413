import { roundUp } from '../core/units.ts';
import type { ChunkId, ElementBytes } from './types.ts';

/** A parameter as the layout sees it, in order of first use. */
export interface ParameterSpec {
  readonly id: number;
  readonly name: string;
  /** The unit that uses it; units are numbered in order of first use. */
  readonly unit: number;
  readonly elements: number;
  /** `id` of the parameter whose bytes this one shares; it must come earlier in the list. */
  readonly tiedTo?: number;
  readonly trainable: boolean;
  /** Parameter group: learning rate, weight decay. Groups may share a chunk. */
  readonly group: number;
}

/** Where one parameter lies inside its chunk, in elements: the same numbers hold for every element type. */
export interface PlacedParameter {
  readonly id: number;
  readonly name: string;
  readonly offset: number;
  readonly elements: number;
  readonly group: number;
}

export interface Chunk {
  readonly id: ChunkId;
  /** Units that use it, ascending: one, unless it holds a tied parameter. */
  readonly units: readonly number[];
  /** Capacity in elements, a multiple of `chunkQuantum`. */
  readonly elements: number;
  /** Elements that belong to parameters; the rest is padding and always zero. */
  readonly usedElements: number;
  readonly trainable: boolean;
  /** Larger than `Layout.chunkElements`: it holds one parameter that no ordinary chunk can. */
  readonly large: boolean;
  readonly parameters: readonly PlacedParameter[];
}

/** Parameters start on 64-byte boundaries for every element type of two bytes or more. */
export const parameterQuantum = 32;
/** Chunks are whole 4 KiB blocks for every element type of two bytes or more: `O_DIRECT` asks for it. */
export const chunkQuantum = 2048;

export const alignParameter = (elements: number): number => roundUp(elements, parameterQuantum);
export const alignChunk = (elements: number): number => roundUp(elements, chunkQuantum);

/** Bytes of a chunk of parameters, or of one micro-batch's gradients: `elements × computeBytes`. */
export const parameterBytes = (chunk: { readonly elements: number }, types: ElementBytes): number =>
  chunk.elements * types.computeBytes;

/** Bytes of an accumulator over micro-batches, in the master's type. */
export const accumulatorBytes = (chunk: { readonly elements: number }, types: ElementBytes): number =>
  chunk.elements * types.stateBytes;
