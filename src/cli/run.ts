import { formatError, isTierraError } from '../core/errors.ts';
import { packageVersion } from '../core/package.ts';
import { type Output, painter, wantsColor } from '../telemetry/index.ts';
import { listenForInterrupts } from './interrupt.ts';
import { parseArguments } from './parse.ts';
import { UsageError } from './usageError.ts';

export interface Outputs {
  readonly stdout: Output;
  readonly stderr: Output;
}

/**
 * Runs one command line and resolves to the exit code: 0 done, 1 failed, 2 the command line is wrong,
 * 130 (Ctrl-C) or 143 (SIGTERM) stopped on request.
 */
export async function runCommandLine(argv: readonly string[], { stdout, stderr }: Outputs): Promise<number> {
  using interrupts = listenForInterrupts();
  try {
    const parsed = await parseArguments(argv, packageVersion(), stdout.columns ?? 80);
    if (parsed.kind === 'print') {
      stdout.write(`${parsed.text}\n`);
      return 0;
    }
    const { signal, onQuit } = interrupts;
    const code = await parsed.command.run(parsed.args, { stdout, stderr, signal, onQuit });
    return interrupts.exitCode ?? code;
  } catch (error) {
    if (interrupts.exitCode !== undefined && isTierraError(error, 'E_INTERRUPTED')) return interrupts.exitCode;
    const paint = painter(wantsColor(stderr));
    stderr.write(`${paint('red', formatError(error))}\n`);
    return error instanceof UsageError ? 2 : 1;
  }
}
