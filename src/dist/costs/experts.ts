/**
 * What a rank receives in one mixture whose experts are spread over ranks, for one micro-batch, exactly as the group's counters
 * count (GShard, Lepikhin et al. 2020).
 */
import { others } from './linear.ts';

export interface MixtureShape {
  readonly width: number;
  readonly experts: number;
  /**
   * Rows of a rank's tokens that go to experts, wherever these are. With a capacity C every expert's C slots: E · C. Dropless:
   * k for each token, and how many of them leave depends on the router.
   */
  readonly rows: number;
  readonly isDropless: boolean;
}

export interface MixtureVolume {
  /** Elements in the compute type, each time forward runs, and in backward. Dropless: when all experts get the same. */
  readonly forward: number;
  readonly backward: number;
  /** Numbers of rows, int64, each time forward runs. */
  readonly counts: number;
  readonly messages: number;
}

export function mixtureVolume(ranks: number, { width, experts, rows, isDropless }: MixtureShape): MixtureVolume {
  // There and back.
  const each = 2 * others(ranks) * rows * width;
  return { forward: each, backward: each, counts: isDropless ? others(ranks) * experts : 0, messages: 2 };
}
