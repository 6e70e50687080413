/**
 * A whole series in bounded space: when full, neighbours are averaged in pairs and from then on each point stands for
 * twice as many values.
 */
export class History {
  readonly #capacity: number;
  #points: number[] = [];
  #valuesPerPoint = 1;
  #sum = 0;
  #pending = 0;

  /** `capacity` must be even. */
  constructor(capacity = 256) {
    this.#capacity = capacity;
  }

  add(value: number): void {
    this.#sum += value;
    this.#pending += 1;
    if (this.#pending < this.#valuesPerPoint) return;
    this.#points.push(this.#sum / this.#pending);
    this.#sum = 0;
    this.#pending = 0;
    if (this.#points.length < this.#capacity) return;
    this.#points = mergeRuns(this.#points, this.#capacity / 2);
    this.#valuesPerPoint *= 2;
  }

  /** The series in at most `count` points, each the mean of a run of neighbours. */
  points(count: number): number[] {
    return mergeRuns(this.#points, count);
  }
}

function mergeRuns(values: readonly number[], count: number): number[] {
  if (values.length <= count) return [...values];
  return Array.from({ length: count }, (_, index) => {
    const from = Math.floor((index * values.length) / count);
    const to = Math.floor(((index + 1) * values.length) / count);
    const run = values.slice(from, to);
    return run.reduce((sum, value) => sum + value, 0) / run.length;
  });
}
