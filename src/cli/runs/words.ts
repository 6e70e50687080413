/** How runs are worded. */
import { formatSeconds } from '../../core/units.ts';
import type { RunDetails, SessionDetails, SessionOutcome } from '../../telemetry/runStore/index.ts';
import type { Piece, Style } from '../../telemetry/terminal.ts';

const two = (value: number): string => String(value).padStart(2, '0');

/** `2026-11-30 18:47`, in local time. */
export function dateText(ms: number): string {
  const date = new Date(ms);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** `18:47:02`, in local time. */
export function timeText(ms: number): string {
  const date = new Date(ms);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

const colors: Readonly<Record<SessionOutcome, Style>> = {
  completed: 'green',
  running: 'cyan',
  interrupted: 'yellow',
  rewound: 'yellow',
  failed: 'red',
  killed: 'red',
};

export const outcomeOf = ({ sessions }: RunDetails): SessionOutcome => sessions.at(-1)?.outcome ?? 'killed';

export const outcomePiece = (outcome: SessionOutcome): Piece => [colors[outcome], outcome];

/** Time that its processes were at work. */
export function workSeconds({ sessions }: RunDetails): number {
  return sessions.reduce((sum, { startedMs, seenMs, endedMs }) => sum + ((endedMs ?? seenMs) - startedMs) / 1e3, 0);
}

export const durationText = (seconds: number): string => formatSeconds(Math.max(0, seconds));

export function stepsText(run: RunDetails): string {
  const last = run.sessions.at(-1);
  if (last === undefined) return '0';
  return last.totalSteps === null ? String(last.lastStep) : `${last.lastStep}/${last.totalSteps}`;
}

/** `resumed at step 100`, `went back to step 100`. */
export function causeText({ cause, fromStep }: SessionDetails): string {
  if (cause === 'start') return fromStep === 0 ? 'started' : `started at step ${fromStep}`;
  return cause === 'resume' ? `resumed at step ${fromStep}` : `went back to step ${fromStep}`;
}
