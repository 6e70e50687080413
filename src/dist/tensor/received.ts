/**
 * What a rank receives in one layer of blocks for a micro-batch, in elements, exactly as its groups' counters count. For plans: the
 * layers that models are made of tell it themselves (`blockLayers.ts`).
 */
import type { Group } from '../group.ts';
import { allReduceReceives } from './counts.ts';
import type { CubePlace, DeepPlace, SquarePlace } from './places.ts';
import { rowsOfBlock } from './vocabulary.ts';

/** In the type of activations, and in the wider one of statistics and losses. */
export interface Received {
  readonly forward: number;
  readonly backward: number;
  readonly wideForward: number;
  readonly wideBackward: number;
  /** Collectives, forward and backward. */
  readonly messages: number;
}

export const nothingReceived: Received = { forward: 0, backward: 0, wideForward: 0, wideBackward: 0, messages: 0 };

export const addReceived = (a: Received, b: Received): Received => ({
  forward: a.forward + b.forward,
  backward: a.backward + b.backward,
  wideForward: a.wideForward + b.wideForward,
  wideBackward: a.wideBackward + b.wideBackward,
  messages: a.messages + b.messages,
});

const received = (forward: number, backward: number, messages: number): Received => ({
  ...nothingReceived,
  ...{ forward, backward, messages },
});
const allReduced = (elements: number, { rank, size }: Group): number => allReduceReceives(elements, rank, size);

/** `tokens` of the whole micro-batch; widths of whole layers. */
export interface LayerCounts {
  linear(tokens: number, inputs: number, outputs: number, bias: boolean): Received;
  /** With its weight, and a bias where it is centred. */
  norm(tokens: number, width: number, centred: boolean): Received;
  vocabulary(tokens: number, vocabulary: number, width: number): Received;
  table(rows: number, width: number): Received;
  /** With the loss. */
  head(tokens: number, vocabulary: number, width: number): Received;
}

export const layerCounts = (place: SquarePlace | DeepPlace | CubePlace): LayerCounts =>
  place.kind === '3d' ? onCube(place) : onSquares(place);

/** A weight that all ranks of these groups use: its gradient is summed over one after the other. */
export const sharedReceived = (elements: number, groups: readonly Group[]): Received =>
  received(
    0,
    groups.reduce((sum, group) => sum + allReduced(elements, group), 0),
    groups.length,
  );

function onSquares(place: SquarePlace | DeepPlace): LayerCounts {
  const q = place.edge;
  const sums = place.kind === '2d' ? 0 : 1;
  const { row, column } = place.groups;
  const [d, overDepth] =
    place.kind === '2d' ? [1, () => 0] : [place.depth, (elements: number) => allReduced(elements, place.groups.depth)];
  /** What one product moves of both its operands, or of an operand and the result: three of them a layer. */
  const moved = (a: number, b: number): number => ((q - 1) * (a + b)) / q ** 2;
  /** `[width / q²]`, gathered for use. */
  const vector = (width: number): Received => {
    const own = width / q ** 2;
    return received((q - 1) * own, (q - 1) * own + overDepth(own), 2 + sums);
  };
  const rowSums = (tokens: number): number => allReduced(tokens / (d * q), row);
  return {
    linear(tokens, inputs, outputs, bias) {
      const each = moved((tokens / d) * inputs, inputs * outputs);
      const product = received(each, 2 * each + overDepth((inputs * outputs) / q ** 2), 6 * q + sums);
      return bias ? addReceived(product, vector(outputs)) : product;
    },
    norm(tokens, width, centred) {
      const each = centred ? 2 : 1;
      const wide = each * rowSums(tokens);
      const { forward, backward, messages } = vector(width);
      return {
        forward: each * forward,
        backward: each * backward,
        wideForward: wide,
        wideBackward: wide,
        messages: each * (messages + 2),
      };
    },
    vocabulary(tokens, vocabulary, width) {
      const scattered = ((q - 1) * (tokens / d) * width) / q ** 2;
      return received(scattered, scattered + overDepth(ownRows(vocabulary) * (width / q)), 2 + sums);
    },
    table: (rows, width) => vector(rows * width),
    head(tokens, vocabulary, width) {
      const whole = rowsOfBlock(vocabulary, ['column'], place.groups) * q;
      const each = moved((tokens / d) * whole, whole * width);
      const samples = place.kind === '2d' ? [column] : [column, place.groups.depth];
      return {
        forward: each,
        backward: 2 * each + overDepth(ownRows(vocabulary) * (width / q)),
        wideForward: 3 * rowSums(tokens) + samples.reduce((sum, group) => sum + allReduced(2, group), 0),
        wideBackward: 0,
        messages: 6 * q + 3 + samples.length + sums,
      };
    },
  };

  function ownRows(vocabulary: number): number {
    const rows = rowsOfBlock(vocabulary, ['column'], place.groups);
    return Math.min(rows, vocabulary - rows * column.rank);
  }
}

function onCube(place: CubePlace): LayerCounts {
  const d = place.edge;
  const { weight, input, output } = place.groups;
  const moved = (elements: number): number => ((d - 1) * elements) / d ** 3;
  const both = (elements: number, messages: number): Received => received(moved(elements), moved(elements), messages);
  return {
    linear(tokens, inputs, outputs, bias) {
      const product = both(tokens * inputs + inputs * outputs + tokens * outputs, 6);
      return bias ? addReceived(product, sharedReceived(outputs / d, [weight])) : product;
    },
    norm(tokens, width, centred) {
      const each = centred ? 2 : 1;
      const wide = each * allReduced(tokens / d ** 2, output);
      const { backward, messages } = sharedReceived(width / d, [weight, input]);
      return {
        ...{ forward: 0, backward: each * backward, wideForward: wide, wideBackward: wide },
        messages: each * (messages + 2),
      };
    },
    vocabulary: (tokens, vocabulary, width) => both(wholeRows(vocabulary) * width + tokens * width, 4),
    // Gathered along one edge, and what came along another.
    table: (rows, width) => both(rows * width * (1 + d), 4),
    head(tokens, vocabulary, width) {
      const whole = wholeRows(vocabulary);
      const product = both(tokens * width + width * whole + tokens * whole, 6);
      const loss = 3 * allReduced(tokens / d ** 2, input) + allReduced(2, weight) + allReduced(2, output);
      return { ...product, wideForward: loss, messages: product.messages + 5 };
    },
  };

  function wholeRows(vocabulary: number): number {
    return rowsOfBlock(vocabulary, ['input', 'weight'], place.groups) * d ** 2;
  }
}
