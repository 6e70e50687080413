/** The launcher's end of the line to one host's agent. */
import { type ChildProcess, spawn } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isThisMachine } from './hosts.ts';
import { eachLine } from './lines.ts';
import { encode, type FromAgent, type ToAgent } from './messages.ts';
import { remoteCommand } from './quote.ts';

export interface SshSettings {
  /** The ssh program; `TIERRA_SSH` names another. */
  readonly program: string;
  readonly port: number | null;
  /** A configuration file for ssh instead of the user's. */
  readonly config: string | null;
}

export interface AgentLink {
  readonly host: string;
  send(message: ToAgent): void;
  /** Ends the agent and with it every rank it still has. Resolves when it has gone. */
  close(): Promise<void>;
}

export interface LinkEvents {
  hear(message: FromAgent): void;
  /** Once, when the line ends without having been closed from here. */
  lost(reason: string): void;
}

const agentFile = fileURLToPath(new URL(`agentMain${extname(import.meta.url)}`, import.meta.url));
const closeMs = 10_000;

export function openAgent(host: string, ssh: SshSettings, { hear, lost }: LinkEvents): AgentLink {
  const argv = [process.execPath, ...process.execArgv, agentFile];
  const [program, ...args] = isThisMachine(host) ? argv : sshArguments(host, ssh, remoteCommand(process.cwd(), argv));
  // In a session of its own: the terminal's Ctrl-C must not tear the line down before the ranks have stopped.
  const child = spawn(program!, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  let complaint = '';
  let closing = false;
  const ended = new Promise<void>((resolve) => {
    child.on('close', (code, signal) => {
      resolve();
      if (!closing) lost(complaint.trim() || `its agent ended with ${signal ?? `exit code ${code}`}`);
    });
    child.on('error', (error) => {
      resolve();
      if (!closing) lost(`cannot start ${program}: ${error.message}`);
      closing = true;
    });
  });
  child.stdin.on('error', () => {});
  child.stderr.on('data', (data: Buffer) => {
    complaint = (complaint + data.toString()).slice(-2_000);
  });
  eachLine(child.stdout, (line) => hearLine(line, hear), Number.POSITIVE_INFINITY);
  return {
    host,
    send: (message) => void child.stdin.write(encode(message)),
    close() {
      closing = true;
      child.stdin.end();
      return goneWithin(child, ended);
    },
  };
}

/** A remote shell's start-up files may print what they like; only our own lines count. */
function hearLine(line: string, hear: (message: FromAgent) => void): void {
  if (!line.startsWith('{"kind":')) return;
  hear(JSON.parse(line) as FromAgent);
}

async function goneWithin(child: ChildProcess, ended: Promise<void>): Promise<void> {
  const timer = setTimeout(() => child.kill('SIGKILL'), closeMs);
  await ended;
  clearTimeout(timer);
}

/** No password prompt and no waiting for a host that is down; a dead line is noticed within 15 seconds. */
export function sshArguments(host: string, { program, port, config }: SshSettings, command: string): string[] {
  const options = ['BatchMode=yes', 'ConnectTimeout=15', 'ServerAliveInterval=5', 'ServerAliveCountMax=3'];
  return [
    program,
    ...(config === null ? [] : ['-F', config]),
    '-T',
    ...options.flatMap((option) => ['-o', option]),
    ...(port === null ? [] : ['-p', String(port)]),
    '--',
    host.replace(/[[\]]/g, ''),
    command,
  ];
}
