import type { ScheduleCosts } from './costs.ts';
import { simulate } from './simulate.ts';
import { isTransfer, type Schedule } from './types.ts';

const letters = { forward: 'F', backward: 'B', backwardInput: 'b', backwardWeight: 'w' } as const;

/**
 * A schedule as text: one line a rank, one column a unit of time, `.` where it idles. A digit after the letter is the
 * micro-batch's last; letters of a rank's second and later stages are followed by `'`.
 */
export function draw(schedule: Schedule, costs?: ScheduleCosts): string {
  const { events, makespan } = simulate(schedule, costs);
  return schedule.actions
    .map((_, rank) => {
      const cells = Array.from({ length: Math.ceil(makespan) }, () => ' . ');
      for (const { rank: own, action, start, end } of events) {
        if (own !== rank || isTransfer(action)) continue;
        const mark = `${letters[action.kind]}${action.microBatch % 10}${action.stage >= schedule.ranks ? "'" : ' '}`;
        for (let at = Math.round(start); at < Math.round(end); at++) cells[at] = mark;
      }
      return `rank ${rank} |${cells.join('')}|`;
    })
    .join('\n');
}
