/** Rank 0's end of the watch: every rank, rank 0 included, has a line to it. */
import { createServer, type Server, type Socket } from 'node:net';
import { readWhereabouts } from '../../core/whereabouts.ts';
import { eachLine } from '../launch/lines.ts';
import { Roster } from './roster.ts';
import type { FromHub, Patience, RankName, ToHub, Verdict } from './signs.ts';

/** The first verdict is the cause; what follows it are echoes. */
export interface Hub {
  readonly port: number;
  /** Rank 0 ends, well with code 0: tells all, stops listening, and calls `done` when they have been told. */
  close(code: number, reason: string, done: () => void): void;
}

/** A stranger that connects and says nothing holds a socket no longer than this. */
const helloMs = 10_000;
/** Longer than any line of ours: strangers cannot fill the memory. */
const maxLineLength = 1 << 14;

export interface HubSettings {
  readonly token: string;
  readonly loopback: boolean;
  readonly patience: Patience;
  readonly name: RankName;
  readonly whereabouts: SharedArrayBuffer;
}

export function openHub({ token, loopback, patience, name, whereabouts }: HubSettings): Promise<Hub> {
  const roster = new Roster(patience);
  const lines = new Map<Socket, number>();
  let verdict: Verdict | null = null;
  let closed = false;
  const tellAll = (message: FromHub): void => {
    for (const socket of lines.keys()) socket.write(`${JSON.stringify(message)}\n`);
  };
  const judge = (found: Verdict | null): void => {
    if (found === null || verdict !== null || closed) return;
    verdict = found;
    tellAll({ kind: 'lost', verdict });
  };
  const server: Server = createServer((socket) => {
    const strangerTimer = setTimeout(() => socket.destroy(), helloMs);
    const hear = (message: ToHub): void => {
      const rank = lines.get(socket);
      if (message.kind === 'hello' && message.token === token && rank === undefined) {
        clearTimeout(strangerTimer);
        lines.set(socket, message.name.rank);
        roster.join(message.name, Date.now());
        if (verdict !== null) socket.write(`${JSON.stringify({ kind: 'lost', verdict } satisfies FromHub)}\n`);
      } else if (rank === undefined) {
        socket.destroy();
      } else if (message.kind === 'beat') {
        roster.beat(rank, message.at, Date.now());
      } else if (message.kind === 'bye') {
        judge(roster.bye(rank, message.code, message.reason));
      }
    };
    eachLine(socket, (line) => hear(parse(line)), maxLineLength);
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(strangerTimer);
      const rank = lines.get(socket);
      lines.delete(socket);
      if (rank !== undefined) judge(roster.broken(rank));
    });
  });
  const timer = setInterval(() => {
    tellAll({ kind: 'beat', name, at: readWhereabouts(whereabouts) });
    judge(roster.overdue(Date.now()));
  }, patience.beatMs);
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(0, loopback ? '127.0.0.1' : '0.0.0.0', 1024, () =>
      resolve({
        port: (server.address() as { port: number }).port,
        close(code, reason, done) {
          roster.beat(name.rank, readWhereabouts(whereabouts), Date.now());
          judge(roster.bye(name.rank, code, reason));
          closed = true;
          clearInterval(timer);
          tellAll({ kind: 'bye' });
          let open = lines.size;
          if (open === 0) done();
          for (const socket of lines.keys()) {
            socket.end(() => {
              open -= 1;
              if (open === 0) done();
            });
          }
          server.close();
        },
      }),
    );
  });
}

const parse = (line: string): ToHub => {
  try {
    return JSON.parse(line) as ToHub;
  } catch {
    return { kind: 'bye', code: 0, reason: '' };
  }
};
