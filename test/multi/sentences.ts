/** A corpus for small models: `count` sentences that differ from each other. */
export function sentences(count: number, seed = 1): string {
  const words = ['tensor', 'chunk', 'step', 'shard', 'stage', 'block', 'layer', 'token'];
  let state = seed;
  const next = (): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state;
  };
  return Array.from({ length: count }, () => Array.from({ length: 6 }, () => words[next() % 8]).join(' ')).join('.\n');
}
