/** One rank's process, as its agent sees it. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import type { Server } from 'node:net';
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { invariant } from '../../core/errors.ts';
import { eachLine } from './lines.ts';
import type { FromAgent, RankStart, Stream } from './messages.ts';

export interface RankChild {
  readonly rank: number;
  readonly running: boolean;
  /** To the rank's whole process group, so that what it started goes too. */
  kill(signal: NodeJS.Signals): void;
}

export interface RankCommand {
  readonly argv: readonly string[];
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
}

/** File descriptors beside stdin, stdout and stderr. */
const agentFd = 3;
const storeFd = 4;

/**
 * Starts a rank in a process group of its own: Ctrl-C at the terminal reaches the launcher only, which passes it on once.
 * Its line to the agent (`TIERRA_AGENT_FD`) ends when the agent dies.
 */
export function startRank(
  command: RankCommand,
  { rank, env }: RankStart,
  listening: Server | null,
  say: (message: FromAgent) => boolean,
): RankChild {
  const [program, ...args] = command.argv;
  const stdio = ['ignore', 'pipe', 'pipe', 'pipe', ...(listening === null ? [] : [fdOf(listening)])] as StdioOptions;
  const child = spawn(program!, args, {
    cwd: command.folder,
    env: {
      ...command.env,
      ...env,
      TIERRA_AGENT_FD: String(agentFd),
      ...(listening === null ? {} : { TIERRA_STORE_FD: String(storeFd) }),
    },
    stdio,
    detached: true,
  });
  let running = true;
  const end = (code: number): void => {
    if (!running) return;
    running = false;
    say({ kind: 'exit', rank, code });
  };
  for (const stream of ['stdout', 'stderr'] as const) passOn(child, rank, stream, say);
  const reports = child.stdio[agentFd] as Readable;
  eachLine(reports, (reason) => say({ kind: 'leaving', rank, reason }));
  reports.on('error', () => {});
  child.on('error', (error) => {
    say({ kind: 'failed', message: `rank ${rank}: cannot start ${program}: ${error.message}` });
    end(127);
  });
  // 'close' would wait for whatever the rank started and left behind with its output open.
  child.on('exit', (code, signal) => setTimeout(() => end(code ?? 128 + (constants.signals[signal!] ?? 0)), drainMs));
  return {
    rank,
    get running() {
      return running;
    },
    kill: (signal) => killGroup(child, signal),
  };
}

/** Node passes connections on, but for a server only its number will do. */
function fdOf(server: Server): number {
  const fd = (server as { _handle?: { fd?: number } })._handle?.fd;
  invariant(typeof fd === 'number' && fd >= 0, 'a listening server has no file descriptor');
  return fd;
}

/** After the end of a rank its last lines may still be in the pipe. */
const drainMs = 50;

/** A reader that is slow makes the rank slow, not the memory full. */
function passOn(child: ChildProcess, rank: number, stream: Stream, say: (message: FromAgent) => boolean): void {
  const source = child[stream]!;
  source.on('error', () => {});
  eachLine(source, (text) => {
    if (say({ kind: 'line', rank, stream, text }) || source.isPaused()) return;
    source.pause();
    process.stdout.once('drain', () => source.resume());
  });
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It is gone already.
  }
}
