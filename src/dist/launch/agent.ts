/**
 * The launcher's hand on one host: starts ranks there, passes their output and their ends on, and lets none outlive the
 * launcher. It runs locally as a child process and elsewhere behind ssh; both speak through stdin and stdout.
 */
import { createServer, type Server } from 'node:net';
import { hostname } from 'node:os';
import { eachLine } from './lines.ts';
import { encode, type FromAgent, silenceMs, type ToAgent } from './messages.ts';
import { type RankChild, startRank } from './rankChild.ts';
import { foreignVariables } from './rankEnvironment.ts';

export function runAgent(version: string): void {
  const ranks: RankChild[] = [];
  let listening: Server | null = null;
  let heard = Date.now();
  const say = (message: FromAgent): boolean => process.stdout.write(encode(message));
  const killAll = (signal: NodeJS.Signals): void => {
    for (const rank of ranks) rank.kill(signal);
  };
  const leave = (): void => process.exit(0);
  // However this process ends, short of being killed itself.
  process.on('exit', () => killAll('SIGKILL'));

  const start = (message: ToAgent & { kind: 'start' }): void => {
    const inherited = Object.entries(process.env).filter(([name]) => !foreignVariables.test(name));
    const env = { ...Object.fromEntries(inherited), ...message.env };
    for (const each of message.ranks) {
      ranks.push(startRank({ argv: message.argv, folder: message.folder, env }, each, listening, say));
      // Rank 0 holds the socket now. It was never accepted from here: this happens within one turn of the event loop.
      listening?.close();
      listening = null;
    }
    say({ kind: 'started' });
  };

  const hear = (message: ToAgent): void => {
    heard = Date.now();
    switch (message.kind) {
      case 'listen': {
        const server = createServer();
        server.on('error', (error) => say({ kind: 'failed', message: `cannot listen: ${error.message}` }));
        server.listen(0, message.loopback ? '127.0.0.1' : '0.0.0.0', 511, () => {
          listening = server;
          say({ kind: 'listening', port: (server.address() as { port: number }).port });
        });
        return;
      }
      case 'start':
        start(message);
        return;
      case 'signal':
        killAll(message.name);
        return;
      case 'stop':
        killAll('SIGTERM');
        setTimeout(() => killAll('SIGKILL'), message.graceMs);
        return;
      case 'ping':
        return;
    }
  };

  eachLine(process.stdin, (line) => hear(JSON.parse(line) as ToAgent), Number.POSITIVE_INFINITY);
  process.stdin.on('end', leave).on('error', leave);
  process.stdout.on('error', leave);
  // A terminal's Ctrl-C is the launcher's to pass on; a request to end this host's part ends its ranks.
  process.on('SIGINT', () => {});
  for (const name of ['SIGTERM', 'SIGHUP'] as const) process.on(name, leave);
  setInterval(() => {
    if (Date.now() - heard > silenceMs) leave();
  }, 1_000).unref();
  say({ kind: 'hello', version, host: hostname() });
}
