import { availableParallelism } from 'node:os';
import { type Config, type ConfigInput, loadConfig, resolveConfig } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';
import { native } from '../native/load.ts';
import { randomKeys } from '../nn/index.ts';
import type { Dtype } from '../tensor/index.ts';

/** What a training process knows before it has a model: settings, device, element type, threads. */
export interface Context {
  readonly config: Config;
  /** `cpu` or `cuda:N`. */
  readonly device: string;
  /** Element type of parameters and activations. */
  readonly dtype: Dtype;
  /** Threads of operators and of the host optimizer on the CPU. */
  readonly threads: number;
  readonly optimizerThreads: number;
}

const dtypes = { fp32: 'float32', bf16: 'bfloat16', fp16: 'float16', fp64: 'float64' } as const;

/**
 * Prepares this process for training: resolves the configuration (a file or a plain object), chooses the device, sets
 * threads and determinism. Throws `E_CONFIG` for bad settings, `E_UNSUPPORTED` for a device this build does not have.
 */
export function launch(config: string | ConfigInput, overrides: readonly string[] = []): Context {
  const resolved = typeof config === 'string' ? loadConfig(config, overrides) : resolveConfig(config, overrides);
  const { runtime, precision } = resolved;
  const device = chooseDevice(resolved.device);
  const cores = availableParallelism();
  const threads = runtime.threads === 'auto' ? cores : runtime.threads;
  const optimizerThreads = runtime.optimizerThreads === 'auto' ? cores : runtime.optimizerThreads;
  native().setThreads(threads);
  native().setDeterministic(runtime.deterministic);
  randomKeys.device = device;
  const dtype = precision === 'auto' ? (device === 'cpu' ? 'float32' : 'bfloat16') : dtypes[precision];
  return { config: resolved, device, dtype, threads, optimizerThreads };
}

/** Asking for CUDA on a machine without it is an error: it never becomes the CPU by itself. */
function chooseDevice(wanted: Config['device']): string {
  const devices = native().deviceCount();
  if (wanted === 'cpu' || (wanted === 'auto' && devices === 0)) return 'cpu';
  const index = wanted === 'auto' || wanted === 'cuda' ? 0 : Number(wanted.slice('cuda:'.length));
  if (index < devices) return `cuda:${index}`;
  const { cuda, torchVersion } = native().buildInfo;
  throw new TierraError(
    'E_UNSUPPORTED',
    `device: ${wanted} is not there: ${cuda ? `this machine has ${devices} CUDA devices` : `the addon was built over libtorch ${torchVersion} without CUDA`}`,
    {
      hint: cuda
        ? 'Set device to auto, cpu, or an existing cuda:N.'
        : 'Install a CUDA build of torch and run `npx tierra setup`, or set device: cpu.',
    },
  );
}
