/**
 * The thread that watches. It needs nothing from the main thread, which may sit in a collective for ever: it beats,
 * listens, and ends the process when another rank is lost or the launcher's agent has gone.
 */
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { type Hub, openHub } from './hub.ts';
import { type Line, openLine } from './line.ts';
import type { Patience, RankName, Verdict } from './signs.ts';
import { type FromMain, state, verdictBytes } from './threads.ts';

interface Given {
  readonly name: RankName;
  readonly patience: Patience;
  readonly whereabouts: SharedArrayBuffer;
  readonly shared: SharedArrayBuffer;
  readonly agentFd: number | null;
}

const { name, patience, whereabouts, shared, agentFd } = workerData as Given;
const words = new Int32Array(shared, 0, state.words);
let hub: Hub | null = null;
let line: Line | null = null;
let condemned = false;

function answer(word: number, value: number): void {
  Atomics.store(words, word, value);
  Atomics.notify(words, word);
}

/** The main thread gets a moment to fail by itself, with its own stack and a message; then nobody is waited for. */
function condemn({ rank, text }: Verdict): void {
  if (condemned) return;
  condemned = true;
  const bytes = new TextEncoder().encode(text).subarray(0, verdictBytes);
  new Uint8Array(shared, state.words * 4, verdictBytes).set(bytes);
  Atomics.store(words, state.verdictLength, bytes.length);
  answer(state.verdict, rank + 1);
  // If the main thread stands still, Node's own streams do too.
  writeQuietly(2, `tierra: rank ${name.rank} ends because ${text}\n`);
  if (agentFd !== null) writeQuietly(agentFd, `${text}\n`);
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), patience.graceMs);
}

function writeQuietly(fd: number, text: string): void {
  try {
    writeSync(fd, text);
  } catch {
    // Whoever read it has gone.
  }
}

parentPort!.on('message', async (message: FromMain) => {
  switch (message.kind) {
    case 'hub':
      hub = await openHub({ ...message, name, patience, whereabouts });
      return answer(state.hubPort, hub.port);
    case 'line':
      line = openLine({ ...message, name, patience, whereabouts }, () => answer(state.joined, 1), condemn);
      return;
    case 'bye': {
      const { code, reason } = message;
      const done = (): void => answer(state.left, 1);
      const closeHub = (): void => (hub === null ? done() : hub.close(code, reason, done));
      if (line === null) closeHub();
      else line.bye(code, reason, closeHub);
      return;
    }
  }
});

// The agent never writes: the end of its line is the end of the agent. Not by a file stream, whose blocking read would
// keep the process from ending.
if (agentFd !== null) {
  new Socket({ fd: agentFd })
    .on('error', () => {})
    .on('end', () => condemn({ rank: name.rank, text: 'the agent of tierra run on this host has gone' }))
    .resume();
}
