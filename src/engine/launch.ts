import { type Config, type ConfigInput, loadConfig, resolveConfig } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';
import { type Backend, chooseBackend, deviceIndexFor, threadsPerRank, type World } from '../dist/index.ts';
import { worldFromEnvironment } from '../dist/launch/environment.ts';
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
  /** Who this process is among those that train together, as its launcher said. */
  readonly world: World;
  /** What moves bytes between ranks. */
  readonly backend: Backend;
}

const dtypes = { fp32: 'float32', bf16: 'bfloat16', fp16: 'float16', fp64: 'float64' } as const;

/**
 * Prepares this process for training: resolves the configuration (a file or a plain object), finds out which rank it is
 * (by default from the variables of whatever launcher started it), chooses the device and the collectives' backend, sets
 * threads and determinism. Throws `E_CONFIG` for bad settings, `E_LAUNCH` for a launcher's variables that are incomplete
 * or contradictory, `E_UNSUPPORTED` for a device or backend this build does not have.
 */
export function launch(
  config: string | ConfigInput,
  overrides: readonly string[] = [],
  world: World = worldFromEnvironment(process.env),
): Context {
  const resolved = typeof config === 'string' ? loadConfig(config, overrides) : resolveConfig(config, overrides);
  const { runtime, precision } = resolved;
  const device = chooseDevice(resolved.device, world);
  const backend = chooseBackend(resolved.parallel.backend, device);
  const cores = threadsPerRank(world);
  const threads = runtime.threads === 'auto' ? cores : runtime.threads;
  const optimizerThreads = runtime.optimizerThreads === 'auto' ? cores : runtime.optimizerThreads;
  native().setThreads(threads);
  native().setDeterministic(runtime.deterministic);
  randomKeys.device = device;
  const dtype = precision === 'auto' ? (device === 'cpu' ? 'float32' : 'bfloat16') : dtypes[precision];
  return { config: resolved, device, dtype, threads, optimizerThreads, world, backend };
}

/**
 * `auto` and `cuda` give each rank of a node a GPU of its own. Asking for CUDA on a machine without it is an error: it
 * never becomes the CPU by itself.
 */
function chooseDevice(wanted: Config['device'], world: World): string {
  const devices = native().deviceCount();
  if (wanted === 'cpu' || (wanted === 'auto' && devices === 0)) return 'cpu';
  const own = wanted === 'auto' || wanted === 'cuda';
  const index = own ? deviceIndexFor(world, devices, process.env) : Number(wanted.slice('cuda:'.length));
  if (index < devices) return `cuda:${index}`;
  if (own && devices > 0) {
    throw new TierraError(
      'E_UNSUPPORTED',
      `rank ${world.rank} is number ${world.localRank} of ${world.localSize} ranks on this node and wants a GPU of its own, but the node has ${devices}`,
      { hint: `Start at most ${devices} ranks on this node, or set device: cpu.` },
    );
  }
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
