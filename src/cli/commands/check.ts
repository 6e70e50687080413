import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageVersion } from '../../core/package.ts';
import { runJob } from '../../dist/launch/job.ts';
import { type Bandwidth, findingsOf, type RankFacts, readyText } from '../../dist/launch/preflight.ts';
import { takeSlots } from '../../dist/launch/slots.ts';
import type { Command } from '../command.ts';
import { hostOptions, hostsFrom, numberFlag, sshFrom } from '../hostOptions.ts';
import { alignColumns } from '../table.ts';

const mark = 'TIERRA_CHECK ';
const rankFile = fileURLToPath(new URL(`../../engine/preflight${extname(import.meta.url)}`, import.meta.url));

export const checkCommand: Command = {
  name: ['check'],
  describe: 'Check every host before a long run: versions, devices, clocks, ports, bandwidth between ranks',
  positionals: [],
  options: {
    n: { describe: 'Ranks in all; without it two here, or as many as the hosts take' },
    timeout: { describe: 'Seconds that ranks wait for each other; 60 without it' },
    ...hostOptions,
  },
  async run(args, { stdout, stderr }) {
    const asked = numberFlag(args, 'n', 1);
    const hosts = hostsFrom(args, asked ?? 2);
    const slots = takeSlots(hosts, asked ?? hosts.reduce((sum, host) => sum + host.slots, 0));
    let report: { ranks: RankFacts[]; bandwidth: Bandwidth | null } | null = null;
    const said: string[] = [];
    const plan = {
      slots,
      restarts: 0,
      minRanks: slots.length,
      argv: [process.execPath, ...process.execArgv, rankFile],
      folder: process.cwd(),
      masterAddress: args.flags.get('master-addr')?.[0] ?? null,
      env: [`TIERRA_CHECK_SECONDS=${numberFlag(args, 'timeout', 1) ?? 60}`],
      ssh: sshFrom(args),
      version: packageVersion(),
    };
    const code = await runJob(plan, {
      line(rank, _stream, text) {
        if (rank === 0 && text.startsWith(mark)) report = JSON.parse(text.slice(mark.length));
        else said.push(`[${rank}] ${text}`);
      },
      note: (text) => said.push(text),
      onSignal: () => () => {},
    });
    if (code !== 0 || report === null) {
      stderr.write(`${said.join('\n')}\nnot ready: the ranks could not meet\n`);
      return 1;
    }
    const { ranks, bandwidth } = report as { ranks: RankFacts[]; bandwidth: Bandwidth | null };
    const findings = findingsOf(ranks, bandwidth);
    const meeting = { check: 'meeting', verdict: 'ok', says: `${ranks.length} ranks reach each other` };
    stdout.write(alignColumns([meeting, ...findings].map(({ check, verdict, says }) => [verdict, check, says])));
    stdout.write(`${readyText(findings)}\n`);
    return findings.every(({ verdict }) => verdict === 'ok') ? 0 : 1;
  },
};
