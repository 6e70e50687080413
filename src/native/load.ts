/** The one door to the addon: nothing else opens it. Loaded on first use, so that planning works without it. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ErrorCode, TierraError } from '../core/errors.ts';
import { type Binding, contract } from './binding.ts';

const packageRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..');
let loaded: Binding | undefined;

/** Where the addon is looked for: `TIERRA_ADDON` names another file (for developers of the addon). */
export function addonPath(): string {
  return process.env.TIERRA_ADDON ?? path.join(packageRoot, 'build', 'tierra.node');
}

/** Opens the addon, or throws `E_NATIVE_MISSING` saying which command mends it. */
export function native(): Binding {
  loaded ??= open(addonPath());
  return loaded;
}

/** Whether `native()` would find a file to open; says nothing about whether it loads. */
export function nativeIsBuilt(): boolean {
  return existsSync(addonPath());
}

function open(file: string): Binding {
  if (!existsSync(file)) {
    throw new TierraError('E_NATIVE_MISSING', `the native addon is not built: ${file} does not exist`, {
      hint: 'Run `npx tierra setup` (it finds or installs libtorch and builds); `npx tierra doctor` says what is missing.',
    });
  }
  // Operator threads that spin while they wait stall each other once the machine has other work: a small model trains
  // at a fiftieth of its speed. libgomp reads this when it is loaded; who sets it keeps it.
  process.env.OMP_WAIT_POLICY ??= 'PASSIVE';
  // Activations come and go in many sizes close to a budget: in segments of fixed size an eighth of it lay idle between them.
  if (process.env.PYTORCH_CUDA_ALLOC_CONF === undefined) process.env.PYTORCH_ALLOC_CONF ??= 'expandable_segments:True';
  let binding: Binding;
  try {
    binding = createRequire(import.meta.url)(file) as Binding;
  } catch (cause) {
    throw new TierraError('E_NATIVE_MISSING', `the native addon does not load: ${(cause as Error).message}`, {
      hint: 'Run `npx tierra doctor`; after moving or updating torch, `npx tierra setup` builds again.',
      cause,
    });
  }
  if (binding.contract !== contract) {
    throw new TierraError(
      'E_NATIVE_MISSING',
      `the native addon speaks contract ${binding.contract}, this version of Tierra needs ${contract}`,
      { hint: 'Run `npx tierra setup` to build the addon again.' },
    );
  }
  binding.setErrorFactory((code, message, fields) => new TierraError(code as ErrorCode, message, fields));
  return binding;
}
