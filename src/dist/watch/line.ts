/** A rank's line to the hub: says where the rank is, hears who is lost. */
import { connect, type Socket } from 'node:net';
import { readWhereabouts, whereaboutsText } from '../../core/whereabouts.ts';
import { eachLine } from '../launch/lines.ts';
import { type FromHub, nameText, type Patience, type RankName, type ToHub, type Verdict } from './signs.ts';

export interface LineSettings {
  readonly host: string;
  readonly port: number;
  readonly token: string;
  readonly name: RankName;
  readonly patience: Patience;
  readonly whereabouts: SharedArrayBuffer;
}

export interface Line {
  bye(code: number, reason: string, done: () => void): void;
}

export function openLine(settings: LineSettings, opened: () => void, lost: (verdict: Verdict) => void): Line {
  const { host, port, token, name, patience, whereabouts } = settings;
  let heardMs = Date.now();
  let over = false;
  const socket: Socket = connect({ host, port, noDelay: true });
  const say = (message: ToHub): void => void socket.write(`${JSON.stringify(message)}\n`);
  const end = (verdict: Verdict | null): void => {
    if (over) return;
    over = true;
    clearInterval(timer);
    if (verdict !== null) lost(verdict);
  };
  let first = { name: `rank 0 (on ${host})`, at: '' };
  const hubLost = (what: string): void => end({ rank: 0, text: `${first.name} ${what}${first.at}` });
  const timer = setInterval(() => {
    say({ kind: 'beat', at: readWhereabouts(whereabouts) });
    const silentMs = Date.now() - heardMs;
    if (silentMs > patience.silenceMs) hubLost(`has not been heard of for ${Math.round(silentMs / 1000)} s`);
  }, patience.beatMs);
  socket.on('connect', () => {
    say({ kind: 'hello', token, name });
    opened();
  });
  eachLine(socket, (text) => {
    const message = JSON.parse(text) as FromHub;
    heardMs = Date.now();
    if (message.kind === 'beat') first = { name: nameText(message.name), at: `, ${whereaboutsText(message.at)}` };
    if (message.kind === 'lost') end(message.verdict);
    if (message.kind === 'bye') end(null);
  });
  socket.on('error', () => {});
  socket.on('close', () => hubLost('died'));
  return {
    bye(code, reason, done) {
      clearInterval(timer);
      over = true;
      say({ kind: 'beat', at: readWhereabouts(whereabouts) });
      socket.end(`${JSON.stringify({ kind: 'bye', code, reason } satisfies ToHub)}\n`, done);
    },
  };
}
