/** Losses of layers' own, beside the model's: `native/src/nn/attachLoss.cc`. */
import type { Tensor } from '../tensor/index.ts';
import { operator } from '../tensor/operator.ts';

/**
 * x as it is; in backward the scalar `loss` gets the gradient that the model's loss was given. So a layer in the middle of a model
 * can add to the loss without a way to its end; the added value itself is not part of the loss that is reported.
 */
export const attachLoss = operator<[Tensor, Tensor], Tensor>('tierra::attach_loss(Tensor x, Tensor loss) -> Tensor');

const setGradient = operator<[number], number>('tierra::set_attached_gradient(float gradient) -> float');

let current = 1;

/** What attached losses get from now on: the weight of the losses that the tape starts backward from. 1 for plain autograd. */
export function setAttachedGradient(gradient: number): void {
  if (gradient === current) return;
  setGradient(gradient);
  current = gradient;
}
