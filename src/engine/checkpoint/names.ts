import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { check } from '../../core/errors.ts';

/** Names under `<output>/checkpoints`: `step-00000100`, and beside it what a run is writing (`tmp`) or removing (`old`). */
export interface WorkName {
  readonly step: number;
  readonly kind: 'tmp' | 'old';
  readonly runId: string;
}

export function checkpointsFolder(output: string): string {
  return join(output, 'checkpoints');
}

export function stepName(step: number): string {
  check(Number.isSafeInteger(step) && step >= 0, `a checkpoint's step must be a count, got ${step}`);
  return `step-${String(step).padStart(8, '0')}`;
}

/** The step of a committed checkpoint's folder name, or undefined for any other name. */
export function parseStepName(name: string): number | undefined {
  const match = /^step-(\d{8,16})$/.exec(name);
  const step = Number(match?.[1]);
  return match !== null && Number.isSafeInteger(step) && stepName(step) === name ? step : undefined;
}

export function workName({ step, kind, runId }: WorkName): string {
  check(/^[\w.-]+$/.test(runId), `a run id may hold letters, digits, ".", "_" and "-", got ${JSON.stringify(runId)}`);
  return `${stepName(step)}.${kind}-${runId}`;
}

export function parseWorkName(name: string): WorkName | undefined {
  const match = /^step-(\d{8,16})\.(tmp|old)-([\w.-]+)$/.exec(name);
  return match === null ? undefined : { step: Number(match[1]), kind: match[2] as 'tmp' | 'old', runId: match[3]! };
}

/** Host, process id and start time of this process: enough to tell later whether the run still lives. */
export function currentRunId(): string {
  return `${host()}-${process.pid}-${startTicks(process.pid) ?? 0}`;
}

/** `elsewhere` when the id is of another host or not of our making, so that this machine cannot tell. */
export function ownerState(runId: string): 'alive' | 'dead' | 'elsewhere' {
  const match = /^(.+)-(\d+)-(\d+)$/.exec(runId);
  if (match === null || match[1] !== host()) return 'elsewhere';
  // Process ids are reused: the start time tells two owners of one id apart.
  return startTicks(Number(match[2])) === Number(match[3]) ? 'alive' : 'dead';
}

function host(): string {
  return hostname().replaceAll(/[^\w.-]/g, '_');
}

/** Field 22 of `/proc/<pid>/stat`: clock ticks between boot and the start of the process. */
function startTicks(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  } catch {
    return undefined;
  }
}
