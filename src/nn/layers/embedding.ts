import { ops, type Tensor } from '../../tensor/index.ts';
import { type Initializer, normal } from '../init.ts';
import { Module } from '../module.ts';
import { Parameter } from '../parameter.ts';

/** Rows of a table: ids int64 of any shape `[...]` to `[..., width]`; weight `[vocabulary, width]`. */
export class Embedding extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly isTable = true;

  constructor(vocabulary: number, width: number, init: Initializer = normal(1)) {
    super();
    this.weight = new Parameter([vocabulary, width], init);
  }

  forward(ids: Tensor): Tensor {
    return ops.embedding(this.weight.tensor, ids);
  }
}
