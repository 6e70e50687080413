import { readFileSync, statSync } from 'node:fs';
import { TierraError } from '../core/errors.ts';
import { limits } from './limits.ts';
import { applyOverrides, type OverrideInput } from './overrides.ts';
import { type Config, type ResolvedConfig, resolveTree } from './resolve.ts';
import { parseYaml } from './yamlTree.ts';

/**
 * Reads a YAML configuration, applies `a.b=value` overrides, validates, and fills in the defaults. Paths inside it are
 * relative to the working directory, as on a command line.
 * Throws `E_IO` when the file cannot be read and `E_CONFIG` with every problem at once otherwise.
 */
export function loadConfig(path: string, overrides: readonly OverrideInput[] = []): Config {
  return loadConfigWithOrigins(path, overrides).config;
}

/** `loadConfig`, and where each value came from. */
export function loadConfigWithOrigins(path: string, overrides: readonly OverrideInput[] = []): ResolvedConfig {
  const tree = parseYaml(readText(path), path);
  applyOverrides(tree, overrides);
  return resolveTree(tree, path);
}

function readText(path: string): string {
  const fail = (reason: string, hint: string, cause?: unknown): never => {
    throw new TierraError('E_IO', `cannot read the configuration ${path}: ${reason}`, {
      hint,
      details: { path },
      cause,
    });
  };
  try {
    const stat = statSync(path);
    if (!stat.isFile()) fail('it is not a file', 'Name a YAML file, such as examples/01-first-run/config.yaml.');
    if (stat.size > limits.fileBytes) {
      fail(`it has ${stat.size} bytes, more than ${limits.fileBytes}`, 'Is this the configuration, or the data?');
    }
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof TierraError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') return fail('there is no such file', `It was looked for in ${process.cwd()}.`, error);
    return fail(String(code ?? error), 'Check the path and its permissions.', error);
  }
}
