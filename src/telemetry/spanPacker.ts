interface Timed {
  readonly startUs: number;
  readonly durationUs: number;
}

/**
 * Spans on one lane of a timeline must not overlap. What runs beside another span of its lane, such as two transfers of one
 * disk, is shown on a further lane with a number.
 */
export class SpanPacker {
  readonly #endsUs = new Map<string, number[]>();

  /** Earliest first, so that as few lanes as possible are needed. */
  inOrder<Span extends Timed>(spans: readonly Span[]): Span[] {
    return [...spans].sort((a, b) => a.startUs - b.startUs);
  }

  /** `name`, or `name 2`, ...: the first that is free by then. */
  lane(name: string, startUs: number, durationUs: number): string {
    let ends = this.#endsUs.get(name);
    if (ends === undefined) {
      ends = [];
      this.#endsUs.set(name, ends);
    }
    const free = ends.findIndex((endUs) => endUs <= startUs);
    const index = free < 0 ? ends.length : free;
    ends[index] = startUs + durationUs;
    return index === 0 ? name : `${name} ${index + 1}`;
  }
}
