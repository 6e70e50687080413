/** One start of all ranks, from the first connection to the last exit. */
import { constants, hostname } from 'node:os';
import { type AgentLink, openAgent, type SshSettings } from './agentLink.ts';
import { isThisMachine } from './hosts.ts';
import { type FromAgent, pingMs, type Stream } from './messages.ts';
import { forwardedEnvironment, rankEnvironment } from './rankEnvironment.ts';
import type { RankPlace } from './slots.ts';

export interface AttemptPlan {
  readonly places: readonly RankPlace[];
  readonly restart: number;
  /** What each rank runs, and in which folder. */
  readonly argv: readonly string[];
  readonly folder: string;
  /** How other hosts reach the first one, where its name does not do. */
  readonly masterAddress: string | null;
  /** Values of `--env`. */
  readonly env: readonly string[];
  readonly ssh: SshSettings;
  readonly version: string;
}

export interface AttemptIo {
  line(rank: number, stream: Stream, text: string): void;
  note(text: string): void;
  /** Calls back for SIGINT and SIGTERM; returns how to stop listening. */
  onSignal(hear: (name: 'SIGINT' | 'SIGTERM') => void): () => void;
}

export interface AttemptEnd {
  /** 0, or the exit code of the rank that failed first. */
  readonly code: number;
  readonly failed: RankPlace | null;
  /** Hosts whose agent could not be reached or was lost. */
  readonly lostHosts: readonly string[];
  readonly signalled: boolean;
}

/** After a failure the others are of no use: SIGTERM, and SIGKILL after this. */
const failureGraceMs = 5_000;
/** After Ctrl-C ranks save a checkpoint, not all in the same moment. */
const signalGraceMs = 60_000;
/** How long a rank that left because of a peer may be ahead of the news of that peer. */
const primaryWaitMs = 3_000;
const helloMs = 90_000;

export function runAttempt(plan: AttemptPlan, io: AttemptIo): Promise<AttemptEnd> {
  return new Attempt(plan, io).end;
}

class Attempt {
  readonly end: Promise<AttemptEnd>;
  private readonly plan: AttemptPlan;
  private readonly io: AttemptIo;
  private readonly links = new Map<string, AgentLink>();
  private readonly greeted = new Set<string>();
  private readonly started = new Set<string>();
  private readonly running = new Map<number, RankPlace>();
  private readonly leaving = new Map<number, string>();
  private readonly lostHosts: string[] = [];
  private readonly timers = new Set<NodeJS.Timeout>();
  private readonly pinging: NodeJS.Timeout;
  private readonly forget: () => void;
  private resolve!: (end: AttemptEnd) => void;
  private failure: { readonly place: RankPlace; readonly code: number; readonly own: boolean } | null = null;
  private stopping = false;
  private signalled = false;
  private finished = false;
  private port = 0;

  constructor(plan: AttemptPlan, io: AttemptIo) {
    this.plan = plan;
    this.io = io;
    this.end = new Promise((resolve) => {
      this.resolve = resolve;
    });
    for (const place of plan.places) this.running.set(place.rank, place);
    for (const host of new Set(plan.places.map((place) => place.host))) {
      this.links.set(
        host,
        openAgent(host, plan.ssh, {
          hear: (message) => this.hear(host, message),
          lost: (reason) => this.lose(host, reason),
        }),
      );
    }
    this.pinging = setInterval(() => this.tell(() => ({ kind: 'ping' })), pingMs);
    this.forget = io.onSignal((name) => this.passOn(name));
    this.after(helloMs, () => {
      for (const host of this.links.keys()) {
        if (!this.greeted.has(host)) this.lose(host, `no answer within ${helloMs / 1e3} s`);
      }
    });
  }

  private get firstHost(): string {
    return this.plan.places[0]!.host;
  }

  private get severalMachines(): boolean {
    return [...this.links.keys()].some((host) => !isThisMachine(host));
  }

  private hear(host: string, message: FromAgent): void {
    switch (message.kind) {
      case 'hello':
        if (message.version !== this.plan.version) {
          this.lose(host, `it has Tierra ${message.version}, this machine ${this.plan.version}`);
          return;
        }
        this.greeted.add(host);
        if (this.greeted.size === this.links.size && !this.stopping) {
          this.links.get(this.firstHost)!.send({ kind: 'listen', loopback: !this.severalMachines });
        }
        return;
      case 'listening':
        this.port = message.port;
        this.start(this.firstHost);
        return;
      case 'started':
        // Only now does rank 0 own the socket that the others will connect to.
        if (host === this.firstHost) {
          for (const other of this.links.keys()) if (other !== host) this.start(other);
        }
        return;
      case 'line':
        this.io.line(message.rank, message.stream, message.text);
        return;
      case 'leaving':
        this.leaving.set(message.rank, message.reason);
        return;
      case 'exit':
        this.exited(message.rank, message.code);
        return;
      case 'failed':
        this.io.note(`${host}: ${message.message}`);
        return;
    }
  }

  private start(host: string): void {
    if (this.stopping) return;
    this.started.add(host);
    const { places, argv, folder, restart, masterAddress, env } = this.plan;
    const meeting = { host: masterAddress ?? this.defaultAddress(), port: this.port, restart };
    this.links.get(host)!.send({
      kind: 'start',
      argv,
      folder,
      env: forwardedEnvironment(process.env, env),
      ranks: places
        .filter((place) => place.host === host)
        .map((place) => ({ rank: place.rank, env: rankEnvironment(place, places.length, meeting) })),
    });
  }

  /** Loopback where nobody else needs it; else the first host by the name it was given. */
  private defaultAddress(): string {
    if (!this.severalMachines) return '127.0.0.1';
    return isThisMachine(this.firstHost) ? hostname() : this.firstHost.replace(/^.*@/, '').replace(/[[\]]/g, '');
  }

  private lose(host: string, reason: string): void {
    const link = this.links.get(host);
    if (link === undefined || this.lostHosts.includes(host)) return;
    this.lostHosts.push(host);
    this.io.note(`host ${host} is lost: ${reason}`);
    void link.close();
    this.links.delete(host);
    for (const place of [...this.running.values()]) if (place.host === host) this.exited(place.rank, 1);
  }

  private exited(rank: number, code: number): void {
    const place = this.running.get(rank);
    if (place === undefined) return;
    this.running.delete(rank);
    if (code !== 0) this.fail(place, code);
    if (this.running.size === 0) void this.finish();
  }

  /** The first failure wins; one that a rank itself blames on a peer counts only while nothing better is known. */
  private fail(place: RankPlace, code: number): void {
    const own = !this.leaving.has(place.rank);
    const better = this.failure === null || (own && !this.failure.own && !this.stopping);
    if (better) this.failure = { place, code, own };
    if (this.stopping || this.running.size === 0) return;
    if (own || this.signalled) this.stop();
    else this.after(primaryWaitMs, () => this.stop());
  }

  private stop(): void {
    if (this.stopping) return;
    this.stopping = true;
    const graceMs = this.signalled ? signalGraceMs : failureGraceMs;
    if (!this.signalled) this.io.note(`${this.describeFailure()}; stopping the others`);
    this.tell(() => ({ kind: 'stop', graceMs }));
    for (const place of [...this.running.values()]) {
      if (!this.started.has(place.host)) this.running.delete(place.rank);
    }
    if (this.running.size === 0) {
      void this.finish();
      return;
    }
    this.after(graceMs + 10_000, () => {
      for (const place of [...this.running.values()]) this.exited(place.rank, 137);
    });
  }

  private describeFailure(): string {
    const { place, code } = this.failure!;
    const where = this.severalMachines ? ` on ${place.host}` : '';
    const reason = this.leaving.get(place.rank);
    return `rank ${place.rank}${where} ended with ${exitText(code)}${reason === undefined ? '' : ` (${reason})`}`;
  }

  private passOn(name: 'SIGINT' | 'SIGTERM'): void {
    this.signalled = true;
    this.tell(() => ({ kind: 'signal', name }));
  }

  private tell(message: () => Parameters<AgentLink['send']>[0]): void {
    for (const link of this.links.values()) link.send(message());
  }

  private after(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      if (!this.finished) act();
    }, ms);
    this.timers.add(timer);
  }

  private async finish(): Promise<void> {
    if (this.finished) return;
    this.finished = true;
    clearInterval(this.pinging);
    for (const timer of this.timers) clearTimeout(timer);
    this.forget();
    await Promise.all([...this.links.values()].map((link) => link.close()));
    if (this.failure !== null && !this.stopping) this.io.note(this.describeFailure());
    this.resolve({
      code: this.failure?.code ?? 0,
      failed: this.failure?.place ?? null,
      lostHosts: this.lostHosts,
      signalled: this.signalled,
    });
  }
}

/** `exit code 1`, or the signal's name where the code stands for one. */
export function exitText(code: number): string {
  const signal = Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
  return signal === undefined ? `exit code ${code}` : `${signal} (exit code ${code})`;
}
