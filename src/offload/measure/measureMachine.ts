/** What the planner has to know about this machine, measured in a few seconds and remembered. */
import { statSync } from 'node:fs';
import { cpus, hostname, totalmem } from 'node:os';
import { type Machine, referenceMachine, type StateFormat } from '../../memory/index.ts';
import { addonPath, native } from '../../native/load.ts';
import type { Dtype } from '../../tensor/index.ts';
import { cudaIndex } from '../device.ts';
import { stateDtype } from '../resident/entries.ts';
import { recallMeasurement, rememberMeasurement } from './cache.ts';
import { type ComputeRates, measureCompute } from './compute.ts';
import { type CopyRates, measureCopies } from './copies.ts';
import { type DiskRates, type DiskSettings, diskKey, measureDisk } from './disk.ts';
import { measureUpdates } from './updates.ts';
import { workingBytes } from './workingSet.ts';

export interface MeasureOptions {
  readonly device: string;
  readonly dtype: Dtype;
  /** Threads of operators and of the host optimizer. */
  readonly threads: number;
  readonly updateThreads: number;
  /** How the run keeps its states; default exact. */
  readonly states?: StateFormat;
  /** Null measures no disk. */
  readonly disk: DiskSettings | null;
  /** Measure although it is known. */
  readonly again?: boolean;
  /** What the processor's last-level caches hold, for tests; default: as the system says. */
  readonly cacheBytes?: number;
  /** How long one stream from or to the disk goes on, for tests; default: a second. */
  readonly diskSeconds?: number;
}

export interface MeasuredMachine extends Machine, ComputeRates {
  /** False when a disk was asked for and could not be measured: its rates are assumptions then. */
  readonly diskMeasured: boolean;
}

interface Rates extends CopyRates, ComputeRates {
  readonly hostUpdateParameters: number;
  readonly deviceUpdateParameters: number;
  readonly hostDramBytes: number;
  /** Where states are compressed: what an update moves, and how fast sums are made. */
  readonly hostUpdateBytes?: number;
  readonly hostSumBytes?: number;
}

/**
 * Measures what is not remembered. Takes four times the memory of the processor's caches, a sixteenth of what is free at most, and,
 * with a disk, 1 GiB of it, both for a moment, and leaves nothing. Rates are those of an otherwise quiet machine only if it is one.
 */
export function measureMachine(options: MeasureOptions): MeasuredMachine {
  const key = machineKey(options);
  const rates = remembered<Rates>(key, options, isRates, () => measureRates(options));
  const { disk, diskSeconds = 1 } = options;
  const diskRates =
    disk === null
      ? null
      : remembered<DiskRates | null>(`${key} ${diskKey(disk)}`, options, isDiskRates, () =>
          measureDisk(disk, diskSeconds),
        );
  const { fromDisk, toDisk } = diskRates ?? referenceMachine;
  return {
    name: machineName(options.device),
    capacityBytes: capacities(options),
    ...rates,
    fromDisk,
    toDisk,
    diskMeasured: diskRates !== null,
  };
}

function measureRates({ device, dtype, states = 'exact', threads, updateThreads, cacheBytes }: MeasureOptions): Rates {
  const bytes = workingBytes(cacheBytes ?? null);
  const copies = measureCopies(cudaIndex(device), bytes);
  const updates = measureUpdates({
    device,
    dtype,
    stateDtype: stateDtype(dtype),
    states,
    threads,
    updateThreads,
    bytes,
  });
  const { hostUpdateParameters, hostUpdateBytes, deviceUpdateParameters, copyBytes } = updates;
  // Whatever moves most bytes shows what the memory can do.
  const updateTraffic = hostUpdateParameters * hostUpdateBytes;
  const hostDramBytes = Math.max(copyBytes, updateTraffic, copies.toDevice.together + copies.toHost.together);
  return {
    ...copies,
    ...measureCompute(device, dtype),
    hostUpdateParameters,
    deviceUpdateParameters,
    hostDramBytes,
    // Updates of compressed states are bound by arithmetic, and sums are not.
    ...(states === 'compressed' ? { hostUpdateBytes, hostSumBytes: copyBytes } : {}),
  };
}

/** What this process knows, also where no file can be written. */
const known = new Map<string, unknown>();

function remembered<Value>(
  key: string,
  { again }: MeasureOptions,
  valid: (value: unknown) => boolean,
  measure: () => Value,
): Value {
  if (again !== true) {
    const value = known.get(key) ?? recallMeasurement(key);
    if (valid(value)) {
      known.set(key, value);
      return value as Value;
    }
  }
  const value = measure();
  if (value === null) return value;
  known.set(key, value);
  rememberMeasurement(key, value);
  return value;
}

const positive = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value) && value > 0;
const fields = (value: unknown, names: readonly string[]): boolean =>
  typeof value === 'object' &&
  value !== null &&
  names.every((name) => positive((value as Record<string, unknown>)[name]));

const isLink = (value: unknown): boolean => fields(value, ['alone', 'together']);

function isDiskRates(value: unknown): boolean {
  const { fromDisk, toDisk } = (value ?? {}) as { fromDisk?: unknown; toDisk?: unknown };
  return isLink(fromDisk) && isLink(toDisk);
}

function isRates(value: unknown): boolean {
  const numbers = [
    'latencySeconds',
    'computeFlops',
    'elementwiseBytes',
    'operatorSeconds',
    'hostUpdateParameters',
    'deviceUpdateParameters',
    'hostDramBytes',
  ];
  if (!fields(value, numbers)) return false;
  const { toDevice, toHost } = value as { toDevice?: unknown; toHost?: unknown };
  return isLink(toDevice) && isLink(toHost);
}

/** How it is measured. Another number, and nothing that was remembered counts. */
const method = 3;

/** Everything the rates depend on: method, machine, build, device, element type, threads. */
function machineKey({ device, dtype, states = 'exact', threads, updateThreads }: MeasureOptions): string {
  const { torchVersion, sourceHash } = native().buildInfo;
  const built = sourceHash === '' ? String(statSync(addonPath()).mtimeMs) : sourceHash;
  return [
    `method ${method}`,
    hostname(),
    machineName(device),
    `torch ${torchVersion}`,
    built,
    native().simdPath(),
    device,
    dtype,
    threads,
    updateThreads,
    ...(states === 'exact' ? [] : [`${states} states`]),
  ].join(' | ');
}

export function machineName(device: string): string {
  const all = cpus();
  const cpu = `${all[0]?.model.trim() ?? 'CPU'}, ${all.length} cores`;
  return device === 'cpu' ? cpu : `${native().deviceInfo(cudaIndex(device)).name}, ${all.length} CPU cores`;
}

function capacities({ device }: MeasureOptions): Machine['capacityBytes'] {
  const host = totalmem();
  const gpu = device === 'cpu' ? host / 2 : native().deviceInfo(cudaIndex(device)).totalBytes;
  return { gpu, host, nvme: 0 };
}
