import { check } from '../core/errors.ts';
import { GiB, parseBytes } from '../core/units.ts';
import type { PerTier } from './types.ts';

/** A rate when nothing else runs, and when the other direction is busy too; of copies, also when the host optimizer is. */
export interface LinkRate {
  readonly alone: number;
  readonly together: number;
}

/** What a planner has to know about a machine. All rates per second; measured by `offload`, or described by flags. */
export interface Machine {
  readonly name: string;
  readonly capacityBytes: PerTier;
  readonly toDevice: LinkRate;
  readonly toHost: LinkRate;
  /** All disks of the swap together. */
  readonly fromDisk: LinkRate;
  readonly toDisk: LinkRate;
  /** Parameters the host optimizer updates, on states as the run keeps them, when memory bandwidth is its own. */
  readonly hostUpdateParameters: number;
  /** Bytes of host memory that such an update of a parameter reads and writes; default `exactUpdateBytes`. */
  readonly hostUpdateBytes?: number;
  /** Bytes per second at which its threads add up gradients; default: as they update. */
  readonly hostSumBytes?: number;
  readonly deviceUpdateParameters: number;
  /** Host memory traffic that copies, disk and optimizer share. */
  readonly hostDramBytes: number;
  /** Fixed cost of one ticket, in seconds. */
  readonly latencySeconds: number;
  /** Sustained matrix-multiply rate in the compute type: used only where no trace was taken. */
  readonly computeFlops: number;
}

/** The flags of `tierra plan`: sizes as in the configuration, rates in the units people quote. */
export interface MachineFlags {
  readonly name?: string;
  readonly gpuMemory?: string | number;
  readonly cpuMemory?: string | number;
  readonly nvme?: string | number;
  /** GB/s per direction. */
  readonly pcie?: number;
  /** GB/s. */
  readonly diskRead?: number;
  readonly diskWrite?: number;
  /** GB/s of host memory. */
  readonly dram?: number;
  /** TFLOP/s sustained. */
  readonly tflops?: number;
}

/** An H200 on PCIe 5 with 16 cores and a virtual disk: the rates were measured there, the capacities are its own. */
export const referenceMachine: Machine = {
  name: 'H200, PCIe 5, 16 cores',
  capacityBytes: { gpu: 139 * GiB, host: 120 * GiB, nvme: 50 * GiB },
  toDevice: { alone: 54e9, together: 35e9 },
  toHost: { alone: 55e9, together: 50e9 },
  fromDisk: { alone: 1.6e9, together: 1.1e9 },
  toDisk: { alone: 1.9e9, together: 1.1e9 },
  hostUpdateParameters: 4.3e9,
  deviceUpdateParameters: 100e9,
  hostDramBytes: 160e9,
  latencySeconds: 20e-6,
  computeFlops: 600e12,
};

/**
 * Disks of which only the rates alone are known are taken to do one thing at a time: at once, bytes each way take as long as one after the
 * other. The link of an NVMe drive carries both directions, but reads and writes share its flash, channels and controller, virtual disks
 * share one allowance for both, and SATA has one direction at a time. Two virtual disks measured do 1.1 to 1.3 times what this says; the
 * other guess, the full rate both ways, was twice too high there.
 */
function describeDisk(read: number, write: number): Pick<Machine, 'fromDisk' | 'toDisk'> {
  const together = 1 / (1 / read + 1 / write);
  return { fromDisk: { alone: read, together }, toDisk: { alone: write, together } };
}

/**
 * Describes a machine from a few numbers. What is not given comes from the reference machine; rates that follow
 * from another (the host optimizer from DRAM at 36 bytes a parameter, PCIe under load) are scaled with it.
 */
export function describeMachine(flags: MachineFlags): Machine {
  const base = referenceMachine;
  const rate = (value: number | undefined, name: string, unit: number, otherwise: number): number => {
    if (value === undefined) return otherwise;
    check(Number.isFinite(value) && value > 0, `machine: ${name} must be a positive number, got ${value}`);
    return value * unit;
  };
  const pcie = rate(flags.pcie, 'pcie', 1e9, base.toDevice.alone);
  const dram = rate(flags.dram, 'dram', 1e9, base.hostDramBytes);
  const { fromDisk, toDisk } = base;
  const described = flags.diskRead !== undefined || flags.diskWrite !== undefined;
  const read = rate(flags.diskRead, 'diskRead', 1e9, fromDisk.alone);
  const write = rate(flags.diskWrite, 'diskWrite', 1e9, toDisk.alone);
  const size = (value: string | number | undefined, name: string, otherwise: number): number =>
    value === undefined ? otherwise : parseBytes(value, name);
  return {
    name: flags.name ?? 'described machine',
    capacityBytes: {
      gpu: size(flags.gpuMemory, 'gpuMemory', base.capacityBytes.gpu),
      host: size(flags.cpuMemory, 'cpuMemory', base.capacityBytes.host),
      nvme: size(flags.nvme, 'nvme', base.capacityBytes.nvme),
    },
    toDevice: { alone: pcie, together: pcie * (base.toDevice.together / base.toDevice.alone) },
    toHost: { alone: pcie, together: pcie * (base.toHost.together / base.toHost.alone) },
    ...(described ? describeDisk(read, write) : { fromDisk, toDisk }),
    hostUpdateParameters: base.hostUpdateParameters * (dram / base.hostDramBytes),
    deviceUpdateParameters: base.deviceUpdateParameters,
    hostDramBytes: dram,
    latencySeconds: base.latencySeconds,
    computeFlops: rate(flags.tflops, 'tflops', 1e12, base.computeFlops),
  };
}

/** Host memory traffic of an update of exact states in bf16 training, per parameter: gradient in, fp32 state in and out, weight out. */
export const exactUpdateBytes = 28;

/** Of the rate of exact updates, where neither is measured: what it was on two threads, in bench/results/2026-12-01-compressed-states.md. */
const compressedShare = 0.67;

/** The machine as a run with compressed states finds it: updates of few bytes and much arithmetic, sums as before. */
export const withCompressedStates = (machine: Machine): Machine => ({
  ...machine,
  hostUpdateParameters: machine.hostUpdateParameters * compressedShare,
  hostUpdateBytes: 16,
  hostSumBytes: machine.hostUpdateParameters * exactUpdateBytes,
});
