import { check } from '../../core/errors.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import { Module } from '../module.ts';

/** Zeroes elements with probability `p` in train mode and scales the rest by `1 / (1 - p)`. */
export class Dropout extends Module<[Tensor], Tensor> {
  readonly p: number;

  constructor(p: number) {
    super();
    check(p >= 0 && p < 1, `dropout probability must be in [0, 1), got ${p}`);
    this.p = p;
  }

  override get drawsRandom(): boolean {
    return this.p > 0;
  }

  forward(x: Tensor): Tensor {
    return this.training && this.p > 0 ? ops.dropout(x, this.p, true) : x;
  }
}
