import { TierraError } from '../../core/errors.ts';
import type { Optimizer } from '../../optim/index.ts';
import type { Context } from '../launch.ts';
import { usesTiers } from '../placement.ts';

/** Throws `E_CONFIG` or `E_UNSUPPORTED` where `optimizer.states: compressed` is asked for and cannot be had. */
export function checkCompressedStates(
  { config, dtype, device }: Pick<Context, 'config' | 'dtype' | 'device'>,
  { rule }: Pick<Optimizer, 'rule'>,
): void {
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
  const { memory, parallel } = config;
  if (device !== 'cpu' && !usesTiers(memory)) {
    refuse(
      'E_UNSUPPORTED',
      `is updated by the CPU only, and without memory: budgets states are on ${device}`,
      `Set memory.gpu or memory.cpu, so that states live in host memory, ${exact}.`,
    );
  }
  if (device !== 'cpu' && memory.policy === 'static' && memory.static.gpuStates > 0) {
    refuse(
      'E_CONFIG',
      `is updated by the CPU only, and memory.static.gpuStates puts states on ${device}`,
      `Set memory.static.gpuStates: 0, ${exact}.`,
    );
  }
  const divided = (['tp', 'pp', 'ep', 'sp'] as const).filter((axis) => parallel[axis] > 1);
  if (divided.length > 0) {
    refuse(
      'E_UNSUPPORTED',
      `is not there yet under parallel.${divided.join(' and parallel.')}`,
      `Divide the batch alone, by parallel.dp and parallel.zero, ${exact}.`,
    );
  }
}
