/** libtorch's autograd, seen from outside a graph. */
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
