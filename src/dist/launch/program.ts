/** How a rank runs what the user named: a TypeScript or JavaScript program, or a configuration. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { TierraError } from '../../core/errors.ts';

/** `trainArgv` is the command line of `tierra train`, for configurations. */
export function rankArgv(script: string, args: readonly string[], trainArgv: readonly string[]): string[] {
  const file = path.resolve(script);
  if (!existsSync(file)) {
    throw new TierraError('E_LAUNCH', `${script}: no such file`, { hint: 'Name a .ts, .js or .yaml file.' });
  }
  switch (path.extname(file)) {
    case '.yaml':
    case '.yml':
    case '.json':
      return [...trainArgv, file, ...args];
    case '.js':
    case '.mjs':
    case '.cjs':
      return [process.execPath, file, ...args];
    case '.ts':
    case '.mts':
    case '.cts':
      return [process.execPath, ...typescriptFlags(file), file, ...args];
    default:
      throw new TierraError('E_LAUNCH', `${script}: neither a program nor a configuration`, {
        hint: 'tierra run starts .ts, .mts, .cts, .js, .mjs and .cjs programs and .yaml or .json configurations.',
      });
  }
}

/** tsx from the program's project or from ours; else Node itself, where it can strip types. */
function typescriptFlags(file: string): string[] {
  for (const from of [file, import.meta.filename]) {
    try {
      return ['--import', pathToFileURL(createRequire(from).resolve('tsx')).href];
    } catch {
      // Not installed there.
    }
  }
  if ('typescript' in process.features && process.features.typescript) return [];
  throw new TierraError('E_UNSUPPORTED', `${file}: Node ${process.versions.node} does not run TypeScript by itself`, {
    hint: 'Install tsx beside the program (npm install --save-dev tsx), or compile it to JavaScript.',
  });
}
