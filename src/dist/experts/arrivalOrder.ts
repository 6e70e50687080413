/** Rows arrive rank by rank, each rank's ordered by expert; experts want them expert by expert, each expert's ordered by rank. */
export interface ArrivalOrder {
  /** For each row as experts want it, where it arrived. */
  readonly order: readonly number[];
  /** For each row as it arrived, where experts have it. */
  readonly places: readonly number[];
}

/** `counts[rank][expert]` rows. */
export function orderFromRanks(counts: readonly (readonly number[])[]): ArrivalOrder {
  const experts = counts[0]?.length ?? 0;
  const starts: number[][] = [];
  let at = 0;
  for (const ofRank of counts) {
    starts.push(
      ofRank.map((count) => {
        at += count;
        return at - count;
      }),
    );
  }
  const order: number[] = [];
  for (let expert = 0; expert < experts; expert++) {
    for (const [rank, ofRank] of counts.entries()) {
      for (let i = 0; i < ofRank[expert]!; i++) order.push(starts[rank]![expert]! + i);
    }
  }
  const places = new Array<number>(order.length);
  for (const [place, arrived] of order.entries()) places[arrived] = place;
  return { order, places };
}
