/** Words and tables that the answers of `tierra plan` share. */
import { formatCount } from '../core/units.ts';
import type { PlanSummary } from '../engine/planSummary.ts';

export const dtypeNames: Readonly<Record<string, string>> = {
  float32: 'fp32',
  bfloat16: 'bf16',
  float16: 'fp16',
  float64: 'fp64',
};

export const limits: Readonly<Record<PlanSummary['limiter'], string>> = {
  compute: 'computing',
  link: 'the link between GPU and host',
  'host memory': 'host memory bandwidth',
  disk: 'the disk',
  'host optimizer': 'the optimizer on the host',
  norm: 'updates that wait for the norm',
  waiting: 'steps that have to follow each other',
};

export function machineLine({ machine, tiers }: PlanSummary): string {
  const { computeFlops, linkBytes, hostDramBytes, hostUpdateParameters } = machine;
  const rate = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e10 ? 1 : 0)} GB/s`;
  const flops =
    computeFlops >= 1e12
      ? `${(computeFlops / 1e12).toFixed(computeFlops < 1e13 ? 1 : 0)} TFLOP/s`
      : `${(computeFlops / 1e9).toFixed(0)} GFLOP/s`;
  const disk =
    tiers.nvme.budgetBytes > 0
      ? `, disk ${rate(machine.readBytes)} in and ${rate(machine.writeBytes)} out (at once ${rate(machine.readBytesTogether)} and ${rate(machine.writeBytesTogether)})`
      : '';
  return `${machineTitle(machine)}\n  ${flops}, GPU link ${rate(linkBytes)}, host memory ${rate(hostDramBytes)}, optimizer ${formatCount(hostUpdateParameters)} parameters/s${disk}`;
}

function machineTitle({ source, name, device }: PlanSummary['machine']): string {
  if (source === 'described') return 'Machine as described; what no flag gives is assumed';
  if (source === 'assumed') return 'Machine: not measured, all rates are assumed';
  return `Machine, measured: ${name}${device === 'cpu' ? '; RAM plays the GPU' : ''}`;
}

export const tierWord = (tier: keyof PlanSummary['tiers']): string =>
  ({ gpu: 'GPU', host: 'host', nvme: 'disk' })[tier];

export function table(title: string, rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return '';
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...rows.map((row) => (row[i] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('   ')
      .trimEnd();
  return [title, ...rows.map((row) => `  ${line(row)}`)].join('\n');
}

export const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;

export const tokenRate = (rate: number): string =>
  rate >= 10_000 ? formatCount(rate) : rate >= 10 ? rate.toFixed(0) : rate.toPrecision(2);

export function percent(part: number, whole: number): string {
  const share = whole > 0 ? (100 * part) / whole : 0;
  return share > 0 && share < 1 ? '<1%' : `${share.toFixed(0)}%`;
}
