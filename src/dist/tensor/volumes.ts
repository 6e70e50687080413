/**
 * Elements that one rank receives in the layers of each tensor-parallel mode, forward and backward, without biases: x `[M, K]`, W
 * `[K, N]`. All-reduces are counted at `2 (g-1)/g S`, their mean over ranks where g does not divide S. For plans, and for the test
 * that compares them with what the addon counts.
 */
export interface LinearSize {
  /** Tokens. */
  readonly m: number;
  readonly k: number;
  readonly n: number;
}

export type TensorMode =
  | { readonly kind: '1d'; readonly size: number }
  | { readonly kind: '2d'; readonly edge: number }
  | { readonly kind: '2.5d'; readonly edge: number; readonly depth: number }
  | { readonly kind: '3d'; readonly edge: number };

const allReduce = (elements: number, size: number): number => (2 * (size - 1) * elements) / size;

/** Column-cut in 1D: only the input's gradient is summed. */
export const columnElements = ({ m, k }: LinearSize, size: number): number => allReduce(m * k, size);
/** Row-cut in 1D: only the output is summed. */
export const rowElements = ({ m, n }: LinearSize, size: number): number => allReduce(m * n, size);

/** A linear layer in 2D: three SUMMA products, each with two matrices on the way. */
export const squareElements = ({ m, k, n }: LinearSize, q: number): number => (3 * (q - 1) * (m * k + k * n)) / q ** 2;

/** In 2.5D: the same on each depth's share of tokens, and weight gradients summed over the depth. */
export const deepElements = ({ m, k, n }: LinearSize, q: number, d: number): number =>
  squareElements({ m: m / d, k, n }, q) + allReduce((k * n) / q ** 2, d);

/** In 3D: input, weight and output each gathered or scattered once each way. */
export const cubeElements = ({ m, k, n }: LinearSize, d: number): number =>
  (2 * (d - 1) * (m * k + k * n + m * n)) / d ** 3;

/**
 * The four linear layers of a transformer layer (h→3h, h→h, h→4h, 4h→h) on `tokens` tokens: whose sums are MK = 7Mh,
 * KN = 12h², MN = 9Mh.
 */
export function transformerLayerElements(tokens: number, width: number, mode: TensorMode): number {
  const sizes = (
    [
      [1, 3],
      [1, 1],
      [1, 4],
      [4, 1],
    ] as const
  ).map(([k, n]) => ({ m: tokens, k: k * width, n: n * width }));
  const total = (of: (size: LinearSize) => number): number => sizes.reduce((sum, size) => sum + of(size), 0);
  switch (mode.kind) {
    case '1d':
      return sizes.reduce(
        (sum, size, i) => sum + (i % 2 === 0 ? columnElements(size, mode.size) : rowElements(size, mode.size)),
        0,
      );
    case '2d':
      return total((size) => squareElements(size, mode.edge));
    case '2.5d':
      return total((size) => deepElements(size, mode.edge, mode.depth));
    case '3d':
      return total((size) => cubeElements(size, mode.edge));
  }
}
