import { hashString } from '../../core/hash.ts';

/**
 * A port that all ranks of a job can name without talking, for launchers that offer none: 10000 to 29999, below the
 * range from which kernels draw ports for outgoing connections, so that only another server can be on it.
 */
export const derivedPort = (job: string): number => 10_000 + Number(hashString(job) % 20_000n);
