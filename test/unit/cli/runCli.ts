import { runCommandLine } from '../../../src/cli/run.ts';
import { FakeOutput } from '../telemetry/fakeOutput.ts';

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One command line in this process. */
export async function runCli(
  argv: readonly string[],
  options: { isTTY?: boolean; columns?: number } = {},
): Promise<Outcome> {
  const stdout = new FakeOutput(options);
  const stderr = new FakeOutput(options);
  const code = await runCommandLine(argv, { stdout, stderr });
  return { code, stdout: stdout.text, stderr: stderr.text };
}
