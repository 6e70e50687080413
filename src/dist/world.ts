/** Who this process is among those that train together, as its launcher said it. */

export type Launcher = 'single' | 'tierra' | 'torchrun' | 'slurm' | 'openmpi' | 'kubernetes';
/** What moves bytes between ranks: NCCL between GPUs, Gloo between CPUs. */
export type Backend = 'nccl' | 'gloo';

export interface World {
  readonly launcher: Launcher;
  /** From 0; unique in the job. */
  readonly rank: number;
  readonly size: number;
  /** Position among the ranks of this node, and how many there are: they share its memory and disks. */
  readonly localRank: number;
  readonly localSize: number;
  /** Where ranks meet; null for a single process. */
  readonly rendezvous: Rendezvous | null;
}

export interface Rendezvous {
  /** Host name or address of the store. */
  readonly host: string;
  readonly port: number;
  /** True where somebody else (torchrun's agent) already runs the store, so that rank 0 is a client too. */
  readonly external: boolean;
  /** In rank 0: a listening socket on that port, inherited from the launcher, so that nobody can take the port first. */
  readonly listenFd?: number;
  /** How often the job was started before on the same store (torchrun's restarts); its keys are kept apart. 0 if unset. */
  readonly attempt?: number;
}

/** A process by itself. */
export const alone: World = {
  launcher: 'single',
  rank: 0,
  size: 1,
  localRank: 0,
  localSize: 1,
  rendezvous: null,
};
