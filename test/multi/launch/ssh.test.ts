/** `tierra run` over the system's ssh: a real sshd on loopback addresses, with a key and a configuration of its own. */
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { freePort } from '../../freePort.ts';
import { isAlive, linesOf, scratch, script, tierra, until } from './support.ts';

const sshd = ['/usr/sbin/sshd', '/usr/local/sbin/sshd'].find((file) => existsSync(file));
const hosts = ['127.0.0.2', '127.0.0.3'];

interface Cluster {
  readonly folder: string;
  readonly flags: string[];
  stop(host: string): void;
}

/** One sshd for each "host", all on one port. */
async function cluster(): Promise<Cluster> {
  const folder = scratch();
  chmodSync(folder, 0o700);
  const file = (name: string): string => path.join(folder, name);
  for (const name of ['hostKey', 'userKey']) {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file(name)]);
  }
  execFileSync('cp', [file('userKey.pub'), file('authorized')]);
  // sshd cannot be handed a socket.
  const port = await freePort(hosts[0]);
  writeFileSync(
    file('sshConfig'),
    `Host *\n  IdentityFile ${file('userKey')}\n  IdentitiesOnly yes\n  UserKnownHostsFile ${file('known')}\n  StrictHostKeyChecking accept-new\n  LogLevel ERROR\n`,
  );
  const servers = new Map(
    await Promise.all(
      hosts.map(async (host) => {
        const config = file(`sshd-${host}`);
        writeFileSync(
          config,
          `Port ${port}\nListenAddress ${host}\nHostKey ${file('hostKey')}\nAuthorizedKeysFile ${file('authorized')}\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nAllowUsers ${userInfo().username}\nPermitRootLogin prohibit-password\n`,
        );
        const server = spawn(sshd!, ['-D', '-e', '-f', config], {
          stdio: ['ignore', 'ignore', 'pipe'],
          detached: true,
        });
        onTestFinished(() => void server.kill('SIGKILL'));
        let said = '';
        server.stderr.on('data', (data: Buffer) => {
          said += data.toString();
        });
        await until(() => said.includes('Server listening') || server.exitCode !== null, 'sshd listens');
        if (server.exitCode !== null) throw new Error(said);
        return [host, server] as const;
      }),
    ),
  );
  return {
    folder,
    flags: ['--ssh-config', file('sshConfig'), '--ssh-port', String(port)],
    stop: (host) => void servers.get(host)!.kill('SIGKILL'),
  };
}

const why = sshd === undefined ? 'sshd is not installed (openssh-server)' : '';
if (why !== '') console.log(`skipped: ${why}`);
// sshd separates privileges in a folder that its package makes at boot.
if (sshd !== undefined && process.getuid?.() === 0) execFileSync('mkdir', ['-p', '/run/sshd']);

describe.skipIf(why !== '')('tierra run over ssh', () => {
  it('starts ranks on every host, where they meet, with hostile arguments and without a shell’s help', async () => {
    const { folder, flags } = await cluster();
    const file = script(
      folder,
      "it's $(touch bad).mjs",
      `import net from 'node:net';
       const { RANK, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT, TIERRA_STORE_FD, NCCL_DEBUG, MINE, HIDDEN, SSH_CONNECTION } = process.env;
       console.log(JSON.stringify([LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, NCCL_DEBUG, MINE, HIDDEN ?? null, process.cwd(), SSH_CONNECTION.split(' ')[2], ...process.argv.slice(2)]));
       if (RANK === '0') {
         let left = 2;
         const server = net.createServer((socket) => { socket.end('hello'); if (--left === 0) server.close(); });
         server.listen({ fd: Number(TIERRA_STORE_FD) });
       } else net.connect(Number(MASTER_PORT), MASTER_ADDR).on('data', (data) => console.log(String(data)));`,
    );
    const hostile = ['$(touch bad)', "it's", '; touch bad', 'a  b', '', '\n', '&'];
    const before = readdirSync(folder).length;
    const args = ['run', '--host', `${hosts[0]}:2,${hosts[1]}`, ...flags, '--env', "MINE=it's $HOME", file, ...hostile];
    const { code, out, err } = await tierra(args, { NCCL_DEBUG: 'WARN', HIDDEN: 'secret' }, folder).ended;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const lines = linesOf(out);
    const common = (host: number) => [hosts[0], 'WARN', "it's $HOME", null, folder, hosts[host], ...hostile];
    expect(JSON.parse(lines['0']![0]!)).toEqual(['0', '2', ...common(0)]);
    expect(JSON.parse(lines['1']![0]!)).toEqual(['1', '2', ...common(0)]);
    expect(JSON.parse(lines['2']![0]!)).toEqual(['0', '1', ...common(1)]);
    expect([lines['1']![1], lines['2']![1]]).toEqual(['hello', 'hello']);
    expect(readdirSync(folder)).toHaveLength(before + 1 /* known hosts */);
  });

  it('leaves nothing on the hosts when one rank fails or the launcher is killed', async () => {
    const { folder, flags } = await cluster();
    const file = script(
      folder,
      'stay.mjs',
      "console.log('pid', process.pid); process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); if (process.env.RANK === process.argv[2]) setTimeout(() => process.exit(9), 1500);",
    );
    const pidsOf = (out: string) => [...out.matchAll(/pid (\d+)/g)].map((match) => Number(match[1]));
    const failing = await tierra(['run', '--host', hosts.join(), ...flags, file, '1']).ended;
    expect(failing.code).toBe(9);
    expect(failing.err).toContain(`rank 1 on ${hosts[1]} ended with exit code 9`);
    expect(pidsOf(failing.out)).toHaveLength(2);
    expect(pidsOf(failing.out).filter(isAlive)).toEqual([]);

    const killed = tierra(['run', '--host', hosts.join(), ...flags, file, 'none']);
    await killed.seen(/pid \d[\s\S]*pid \d/);
    const pids = pidsOf(killed.out);
    killed.child.kill('SIGKILL');
    await until(() => !pids.some(isAlive), 'ranks gone with their launcher');
  });

  it('says which host cannot be reached, and goes on without it where that is allowed', async () => {
    const { folder, flags, stop } = await cluster();
    stop(hosts[1]!);
    const file = script(folder, 'count.mjs', "console.log('of', process.env.WORLD_SIZE);");
    const args = ['run', '--host', hosts.join(), ...flags];
    const refused = await tierra([...args, file]).ended;
    expect(refused.code).toBe(1);
    expect(refused.err).toContain(`host ${hosts[1]} is lost: `);
    expect(refused.err).toContain('Connection refused');
    const fewer = await tierra([...args, '--restarts', '1', '--min-ranks', '1', file]).ended;
    expect({ code: fewer.code, out: fewer.out }).toEqual({ code: 0, out: '[0] of 1\n' });
  });
});
