import { execFileSync } from 'node:child_process';
import { hostname } from 'node:os';
import { describe, expect, it, test } from 'vitest';
import { sshArguments } from '../../../src/dist/launch/agentLink.ts';
import { isThisMachine, parseHostfile, parseHosts, selectHosts } from '../../../src/dist/launch/hosts.ts';
import { slotsAfter } from '../../../src/dist/launch/job.ts';
import { remoteCommand, shellQuote } from '../../../src/dist/launch/quote.ts';
import { forwardedEnvironment } from '../../../src/dist/launch/rankEnvironment.ts';
import { placeRanks, takeSlots } from '../../../src/dist/launch/slots.ts';

const hostile = [
  '-oProxyCommand=touch bad',
  '--',
  'a;touch bad',
  'a b',
  '$(touch bad)',
  '`touch bad`',
  "a'b",
  'a"b',
  'a\nb',
  'a|b',
  '../a',
  'a/b',
  '@a',
  '-u@a',
  'a@-b',
  '.a',
  '',
  'a@b@c',
  'ä',
];

describe('host names', () => {
  it.each(hostile)('%j is none', (name) => {
    expect(() => parseHosts(name, 1, '--host')).toThrow();
    if (name.includes('\n')) return; // two lines there
    expect(() => parseHostfile(`good\n${name} slots=2`, 1, 'hosts')).toThrow();
  });

  it('are read with the ranks they take', () => {
    expect(parseHosts('a, b:4,user@c.example.org:2,10.0.0.1,[::1]:3', 8, '--host')).toEqual([
      { name: 'a', slots: 8 },
      { name: 'b', slots: 4 },
      { name: 'user@c.example.org', slots: 2 },
      { name: '10.0.0.1', slots: 8 },
      { name: '[::1]', slots: 3 },
    ]);
    expect(parseHostfile('# ours\na slots=2\n\n  b # spare\r\n', 1, 'hosts')).toEqual([
      { name: 'a', slots: 2 },
      { name: 'b', slots: 1 },
    ]);
  });

  it.each([
    ['a slots=0', 'hosts:1'],
    ['a slots=two', 'hosts:1: cannot read'],
    ['a\nb 4', 'hosts:2: cannot read'],
    ['# nothing', 'hosts: no host'],
  ])('a hostfile %j is refused with its line', (text, message) => {
    expect(() => parseHostfile(text, 1, 'hosts')).toThrow(message);
  });

  it('can be included or excluded, by names that are there', () => {
    const hosts = parseHosts('a,b,c', 1, '--host');
    const names = (include: string[], exclude: string[]) =>
      selectHosts(hosts, include, exclude).map(({ name }) => name);
    expect(names([], [])).toEqual(['a', 'b', 'c']);
    expect(names(['c', 'a'], [])).toEqual(['a', 'c']);
    expect(names([], ['b'])).toEqual(['a', 'c']);
    expect(() => names(['a'], ['b'])).toThrow('give one of them');
    expect(() => names(['d'], [])).toThrow('--include d: no such host');
    expect(() => names([], ['a', 'b', 'c'])).toThrow('leaves no host');
    expect(() => selectHosts(parseHosts('a,a', 1, '--host'), [], [])).toThrow('named twice');
  });

  it('of this machine need no ssh', () => {
    expect(['localhost', '127.0.0.1', hostname()].map(isThisMachine)).toEqual([true, true, true]);
    expect(['127.0.0.2', 'other.example.org', `user@${hostname()}`].map(isThisMachine)).toEqual([false, false, false]);
  });
});

describe('quoting', () => {
  const words = [...hostile, "'", "''", '\\', "\\'", '!x', '~', '#', '*', '=ls', 'a=b', '%d', '\t', '€', '{a,b}'];

  it.each(['sh', 'bash'])('%s gives every word back', (shell) => {
    const printed = execFileSync(shell, ['-c', `printf '%s\\0' ${words.map(shellQuote).join(' ')}`], {
      encoding: 'utf8',
    });
    expect(printed.split('\0').slice(0, -1)).toEqual(words);
  });

  it('a remote command runs in its folder with its words', () => {
    const folder = "/tmp/it's here";
    expect(remoteCommand(folder, ['node', '--import', 'tsx', 'a b.ts'])).toBe(
      "cd '/tmp/it'\\''s here' && exec node --import tsx 'a b.ts'",
    );
    expect(() => shellQuote('a\0b')).toThrow('zero byte');
  });

  it('ssh gets the host after its options, never as one', () => {
    const argv = sshArguments('user@[::1]', { program: 'ssh', port: 2222, config: '/c' }, 'command');
    expect(argv.slice(0, 4)).toEqual(['ssh', '-F', '/c', '-T']);
    expect(argv.slice(-5)).toEqual(['-p', '2222', '--', 'user@::1', 'command']);
    expect(argv).toContain('BatchMode=yes');
  });
});

test('other hosts get settings of what computes and talks, and no secrets', () => {
  const env = {
    PATH: '/bin',
    NCCL_DEBUG: 'INFO',
    OMP_NUM_THREADS: '4',
    HF_TOKEN: 'x',
    HF_HOME: '/h',
    AWS_SECRET_ACCESS_KEY: 'x',
    TIERRA_SSH: 's',
    HOME: '/root',
    MINE: 'm',
  };
  expect(forwardedEnvironment(env, [])).toEqual({
    PATH: '/bin',
    NCCL_DEBUG: 'INFO',
    OMP_NUM_THREADS: '4',
    HF_HOME: '/h',
    TIERRA_SSH: 's',
  });
  expect(forwardedEnvironment(env, ['MINE', 'GIVEN=a=b', 'ABSENT', 'HF_TOKEN'])).toMatchObject({
    MINE: 'm',
    GIVEN: 'a=b',
    HF_TOKEN: 'x',
  });
});

describe('places', () => {
  const hosts = [
    { name: 'a', slots: 2 },
    { name: 'b', slots: 3 },
  ];

  it('are taken host by host', () => {
    expect(placeRanks(takeSlots(hosts, 4))).toEqual([
      { rank: 0, host: 'a', slot: 0, localRank: 0, localSize: 2 },
      { rank: 1, host: 'a', slot: 1, localRank: 1, localSize: 2 },
      { rank: 2, host: 'b', slot: 0, localRank: 0, localSize: 2 },
      { rank: 3, host: 'b', slot: 1, localRank: 1, localSize: 2 },
    ]);
    expect(() => takeSlots(hosts, 6)).toThrow('6 ranks are asked for, but the hosts take 5');
  });

  it('go with their host, or after failing first twice in a row where fewer are allowed', () => {
    const slots = takeSlots(hosts, 5);
    const failed = placeRanks(slots)[1]!;
    const culprit = { host: 'a', slot: 1 };
    expect(slotsAfter(slots, { failed, lostHosts: [] }, null, 1)).toEqual(slots);
    expect(slotsAfter(slots, { failed, lostHosts: [] }, { host: 'a', slot: 0 }, 1)).toEqual(slots);
    expect(slotsAfter(slots, { failed, lostHosts: [] }, culprit, 5)).toEqual(slots);
    expect(slotsAfter(slots, { failed, lostHosts: [] }, culprit, 4)).toHaveLength(4);
    expect(slotsAfter(slots, { failed: null, lostHosts: ['b'] }, null, 1)).toEqual(slots.slice(0, 2));
  });
});
