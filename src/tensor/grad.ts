/** libtorch's autograd, seen from outside a graph. */
import type { DeferredGradients } from '../native/binding.ts';
import { native } from '../native/load.ts';
import { adopt, type Tensor } from './tensor.ts';

/** Runs `body` without recording a graph. */
export function noGrad<Result>(body: () => Result): Result {
  const before = native().setGradMode(false);
  try {
    return body();
  } finally {
    native().setGradMode(before);
  }
}

/** Runs `body` with graph recording on, whatever surrounds it. */
export function withGrad<Result>(body: () => Result): Result {
  const before = native().setGradMode(true);
  try {
    return body();
  } finally {
    native().setGradMode(before);
  }
}

/** Runs `body` in libtorch's inference mode: no graph, no version counters; results cannot be trained through. */
export function inference<Result>(body: () => Result): Result {
  native().pushInferenceMode();
  try {
    return body();
  } finally {
    native().popInferenceMode();
  }
}

/**
 * Gradients of `outputs` (weighted by `gradOutputs`; null = one, for scalars) with respect to `inputs`; null where no
 * output depends on an input. An input may be an output as well: its own weight is then summed first.
 */
export function grad(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  gradOutputs: readonly (Tensor | null)[] = outputs.map(() => null),
  retainGraph = false,
): (Tensor | null)[] {
  const handles = native().grad(
    outputs.map((tensor) => tensor.handle),
    inputs.map((tensor) => tensor.handle),
    gradOutputs.map((tensor) => tensor?.handle ?? null),
    retainGraph,
  );
  return handles.map((handle) => (handle === null ? null : adopt(handle)));
}

/** The second half of a backward: weight gradients that are still to be computed. Take or drop it, once. */
export interface DeferredGrad {
  /** Gradients parallel to the weights, null where no output depends on a weight; frees what the graph kept. */
  take(): (Tensor | null)[];
  drop(): void;
}

/**
 * Backward in two halves: gradients of `inputs` now, those of `weights` (leaves) when `deferred.take()` is called. Nothing
 * is computed twice, and both halves give the bits of `grad` over inputs and weights together: where the way to the weights leaves the
 * way to the inputs, the arriving gradient is kept (the split of Qi et al. 2023). Weights used at several places are computed now.
 */
export function gradInputs(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  weights: readonly Tensor[],
  gradOutputs: readonly Tensor[],
): { readonly gradients: (Tensor | null)[]; readonly deferred: DeferredGrad } {
  const handles = (tensors: readonly Tensor[]) => tensors.map((tensor) => tensor.handle);
  const { gradients, deferred } = native().gradInputs(
    handles(outputs),
    handles(inputs),
    handles(weights),
    handles(gradOutputs),
  );
  const adopted = (found: readonly (Parameters<typeof adopt>[0] | null)[]) =>
    found.map((handle) => (handle === null ? null : adopt(handle)));
  const id: DeferredGradients = deferred;
  return {
    gradients: adopted(gradients),
    deferred: { take: () => adopted(native().gradWeights(id)), drop: () => native().dropDeferred(id) },
  };
}
