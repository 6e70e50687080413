/**
 * Whether the micro-batch under way is only watched: run on made-up numbers to see what it needs and in which order. Layers whose shapes
 * follow from numbers, such as routers, then take shapes that do not: ranks that would have the same numbers must come to the same.
 */
let watched = 0;

export const isWatched = (): boolean => watched > 0;

export function watching<Result>(body: () => Result): Result {
  watched++;
  try {
    return body();
  } finally {
    watched--;
  }
}
