import { TierraError } from '../../core/errors.ts';
import type { Optimizer } from '../../optim/index.ts';
import type { Context } from '../launch.ts';

/** Throws `E_CONFIG` or `E_UNSUPPORTED` where `optimizer.states: compressed` is asked for and cannot be had. */
export function checkCompressedStates({ config, dtype, device, world }: Context, { rule }: Optimizer): void {
  if (config.optimizer.states !== 'compressed') return;
  const refuse = (code: 'E_CONFIG' | 'E_UNSUPPORTED', why: string, hint: string): never => {
    throw new TierraError(code, `optimizer.states: compressed ${why}`, { hint });
  };
  const exact = 'or set optimizer.states: exact';
  if (rule !== 'adamw')
    refuse('E_CONFIG', `is for adamw, and the optimizer is ${rule}`, `Set optimizer.name: adamw, ${exact}.`);
  if (dtype !== 'bfloat16' && dtype !== 'float32') {
    refuse('E_UNSUPPORTED', `works with bf16 and fp32, and training is in ${dtype}`, `Set precision: bf16, ${exact}.`);
  }
  if (device !== 'cpu') refuse('E_UNSUPPORTED', `is not there yet on ${device}`, `Set device: cpu, ${exact}.`);
  if (world.size > 1) refuse('E_UNSUPPORTED', 'is not there yet for several ranks', `Run one process, ${exact}.`);
}
