/** Streams of one swap file's pieces, each way alone or both at once, in bytes per second. */
import { randomFillSync } from 'node:crypto';
import { GiB, MiB } from '../../core/units.ts';
import type { ArenaId, SwapId } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import { adopt, dtypeCode, ops, scope } from '../../tensor/index.ts';
import type { Bench, PlainTicket } from './bench.ts';
import { ratesTogether } from './ratesTogether.ts';

type Way = 'read' | 'write';

export const pieceBytes = 8 * MiB;
/** A file of 1 GiB. */
export const mostFilePieces = GiB / pieceBytes;
/** More bytes than that in one stream would only wear out the fastest drives. */
const mostStreamPieces = (4 * GiB) / pieceBytes;
const leastStreamPieces = 4;
/** Each way has its own; beyond the caches together. */
const arenaPieces = 4;

export class DiskStreams {
  static readonly timelineCapacity = 2 * mostStreamPieces;
  readonly #bench: Bench;
  readonly #swap: SwapId;
  readonly #arena: ArenaId;
  readonly #extentBytes = native().swapExtentBytes(pieceBytes);
  readonly #roomPieces: number;
  #filePieces = 0;

  constructor(bench: Bench, swap: SwapId, roomPieces: number) {
    this.#bench = bench;
    this.#swap = swap;
    this.#roomPieces = roomPieces;
    this.#arena = bench.arena('host', 2 * arenaPieces * pieceBytes, -1);
    this.#randomize();
  }

  /** Makes the file: its room at most, and no more of it than `seconds` allow. Its rate, which is lower than that of writing again. */
  fill(seconds: number): number {
    let rate = 0;
    const began = performance.now();
    do {
      const wave = Math.min(this.#roomPieces - this.#filePieces, Math.max(leastStreamPieces, this.#filePieces));
      const first = this.#filePieces;
      this.#filePieces += wave;
      rate = (wave * pieceBytes) / this.#bench.run(this.#tickets('write', wave, first, wave));
    } while (this.#filePieces < this.#roomPieces && performance.now() - began < 1e3 * seconds);
    return rate;
  }

  /** About `bytes` one way. */
  alone(way: Way, bytes: number): number {
    const tickets = this.#tickets(way, streamPieces(bytes), 0, this.#filePieces);
    return (tickets.length * pieceBytes) / this.#bench.run(tickets);
  }

  /** About `bytes` in all, read from one half of the file and written to the other: the rates while both go on. */
  together(bytes: number): Record<Way, number> {
    const pieces = streamPieces(bytes / 2);
    const half = Math.floor(this.#filePieces / 2);
    const [read, write] = [this.#tickets('read', pieces, 0, half), this.#tickets('write', pieces, half, half)];
    this.#bench.spans();
    this.#bench.run(read.flatMap((ticket, piece) => [ticket, write[piece]!]));
    return ratesTogether(this.#bench.spans());
  }

  /** `count` times round the file's pieces from `first` on, `size` of them. Not zeros: some disks do not write those. */
  #tickets(lane: Way, count: number, first: number, size: number): PlainTicket[] {
    return Array.from({ length: count }, (_, index) => {
      const chunk = first + (index % size);
      const place = (lane === 'write' ? arenaPieces : 0) + (chunk % arenaPieces);
      const [swap, arena] = [this.#swap, this.#arena];
      const [swapOffset, arenaOffset] = [chunk * this.#extentBytes, place * pieceBytes];
      return { lane, chunk, swap, swapOffset, arena, arenaOffset, bytes: pieceBytes };
    });
  }

  #randomize(): void {
    scope(() => {
      const elements = pieceBytes / 4;
      const random = ops.fromArray(randomFillSync(new Float32Array(elements)));
      for (let piece = 0; piece < arenaPieces; piece++) {
        const offset = (arenaPieces + piece) * pieceBytes;
        const place = adopt(native().arenaTensor(this.#arena, offset, [elements], dtypeCode('float32')));
        native().castInto(place.handle, random.handle, 1);
      }
    });
  }
}

const streamPieces = (bytes: number): number =>
  Math.max(leastStreamPieces, Math.min(mostStreamPieces, Math.ceil(bytes / pieceBytes)));
