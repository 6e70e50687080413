/** `tierra check`: ranks that meet, and what is said where something is wrong. Other hosts are this one behind a stand-in for ssh. */
import { chmodSync, cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { native, nativeIsBuilt } from '../../../src/native/load.ts';
import { compiled } from '../../compiled.ts';
import { scratch, tierra } from './support.ts';

const gloo = nativeIsBuilt() && native().buildInfo.gloo;
if (!gloo) console.log('skipped: the addon has no Gloo');

/** `ssh … -- host command`: runs the command in a shell, as sshd would, after what `hosts` says of the host. */
function sshTo(folder: string, hosts: Readonly<Record<string, string>>): { TIERRA_SSH: string } {
  const file = path.join(folder, 'ssh');
  const cases = Object.entries(hosts).map(([host, shell]) => `${host}) ${shell} ;;`);
  writeFileSync(
    file,
    `#!/bin/sh
while [ "$1" != -- ]; do shift; done
host=$2 command=$3
case "$host" in
${cases.join('\n')}
esac
exec sh -c "$command"
`,
  );
  chmodSync(file, 0o755);
  return { TIERRA_SSH: file };
}

/** The installation once more, with another version. */
function otherVersion(folder: string): { readonly from: string; readonly to: string } {
  const from = path.dirname(path.dirname(path.dirname(compiled('src/cli/main.ts'))));
  const to = path.join(folder, 'other');
  cpSync(path.join(from, 'src'), path.join(to, 'src'), { recursive: true });
  for (const link of ['build', 'native', 'node_modules']) symlinkSync(path.resolve(link), path.join(to, link));
  const description = JSON.parse(readFileSync('package.json', 'utf8'));
  writeFileSync(path.join(to, 'package.json'), JSON.stringify({ ...description, version: '9.9.9' }));
  return { from, to };
}

describe.skipIf(!gloo)('tierra check', { timeout: 300_000 }, () => {
  it('finds two ranks of two hosts ready, one of them slow to start', async () => {
    const env = sshTo(scratch(), { slow: 'sleep 2' });
    const { code, out, err } = await tierra(['check', '--host', 'localhost,slow', '--master-addr', '127.0.0.1'], env)
      .ended;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const lines = Object.fromEntries(
      Array.from(out.matchAll(/^(ok|bad) +(\S+(?: contract)?) +(.*)$/gm), (m) => [m[2]!, [m[1]!, m[3]!]]),
    );
    const { buildInfo, contract } = native();
    expect(lines).toMatchObject({
      meeting: ['ok', '2 ranks reach each other'],
      node: ['ok', process.versions.node],
      libtorch: ['ok', buildInfo.torchVersion],
      'addon contract': ['ok', String(contract)],
      backend: ['ok', 'gloo'],
      clocks: ['ok', expect.any(String)],
      bandwidth: ['ok', expect.stringMatching(/^all-reduce of 17 MB on 2 ranks: [\d.]+ ms, [\d.]+ GB\/s$/)],
    });
    expect(out.trimEnd().split('\n').at(-1)).toBe('ready to train');
  });

  it('names a host with another version, and one that cannot be reached', async () => {
    const folder = scratch();
    const { from, to } = otherVersion(folder);
    const env = sshTo(folder, {
      other: `command=$(printf %s "$command" | sed 's#${from}/#${to}/#g')`,
      gone: "echo 'connect to host gone port 22: Connection refused' >&2; exit 255",
    });
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    const { code, out, err } = await tierra(['check', '--host', 'localhost,other,gone'], env).ended;
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toContain('host gone is lost: connect to host gone port 22: Connection refused');
    expect(err).toContain(`host other is lost: it has Tierra 9.9.9, this machine ${version}`);
    expect(err).toContain('not ready: the ranks could not meet');
  });

  it('gives up where nobody answers at the address that was given', async () => {
    const env = sshTo(scratch(), {});
    const args = ['check', '--host', 'localhost,b', '--master-addr', '192.0.2.1', '--timeout', '3'];
    const { code, out, err } = await tierra(args, env).ended;
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toMatch(/192\.0\.2\.1|rank 1/);
    expect(err).toContain('not ready: the ranks could not meet');
  });
});
