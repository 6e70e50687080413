const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'] as const;
const heights = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;

/** A bar `width` cells wide, exact to an eighth of a cell: the filled part and the rest. */
export function bar(fraction: number, width: number): { filled: string; rest: string } {
  const clamped = Number.isFinite(fraction) ? Math.min(1, Math.max(0, fraction)) : 0;
  const total = Math.round(clamped * width * 8);
  const filled = '█'.repeat(Math.floor(total / 8)) + eighths[total % 8]!;
  return { filled, rest: '░'.repeat(width - filled.length) };
}

/** One cell per value, scaled between the least and the greatest; what is not a number shows as `!`. */
export function sparkline(values: readonly number[]): string {
  const finite = values.filter(Number.isFinite);
  const low = Math.min(...finite);
  const range = Math.max(...finite) - low;
  return values
    .map((value) => {
      if (!Number.isFinite(value)) return '!';
      return heights[range === 0 ? 0 : Math.round(((value - low) / range) * (heights.length - 1))]!;
    })
    .join('');
}
