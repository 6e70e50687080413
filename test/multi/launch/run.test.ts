/** `tierra run` on this machine. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { runHere } from '../trainProcess.ts';
import { isAlive, linesOf, scratch, script, tierra, until } from './support.ts';

const waitForever = 'setInterval(() => {}, 1000);';

describe('tierra run', () => {
  it('tells each rank who it is, and passes arguments on as typed', async () => {
    const folder = scratch();
    const file = script(
      folder,
      'who.mjs',
      `const { RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT, TIERRA_STORE_FD } = process.env;
       console.log(JSON.stringify([RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, TIERRA_STORE_FD ?? null, ...process.argv.slice(2)]));
       console.log(MASTER_PORT);`,
    );
    const hostile = ['$(touch bad)', '; touch bad', 'it\'s "quoted"', '--n', '-n', '*', 'new\nline', '', '--help'];
    const { code, out, err } = await tierra(['run', '-n', '3', file, ...hostile], {}, folder).ended;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const lines = linesOf(out);
    for (const rank of ['0', '1', '2']) {
      expect(JSON.parse(lines[rank]![0]!)).toEqual([
        rank,
        '3',
        rank,
        '3',
        '127.0.0.1',
        rank === '0' ? '4' : null,
        ...hostile,
      ]);
    }
    expect(new Set(Object.values(lines).map((each) => each[1])).size).toBe(1);
    expect(readdirSync(folder)).toEqual(['who.mjs']);
  });

  it('hands rank 0 the socket that the others connect to', async () => {
    const folder = scratch();
    const file = script(
      folder,
      'meet.mjs',
      `import net from 'node:net';
       const { RANK, MASTER_ADDR, MASTER_PORT, TIERRA_STORE_FD } = process.env;
       if (RANK === '0') {
         let left = 2;
         const server = net.createServer((socket) => { socket.end('hello'); if (--left === 0) server.close(); });
         server.listen({ fd: Number(TIERRA_STORE_FD) });
       } else {
         net.connect(Number(MASTER_PORT), MASTER_ADDR).on('data', (data) => console.log(String(data)));
       }`,
    );
    const { code, out } = await tierra(['run', '-n', '3', file]).ended;
    expect(code).toBe(0);
    expect(linesOf(out)).toEqual({ 1: ['hello'], 2: ['hello'] });
  });

  it('stops all when one fails, also what they started, and ends with the first failure’s code', async () => {
    const folder = scratch();
    const file = script(
      folder,
      'fail.mjs',
      `import { spawn } from 'node:child_process';
       const helper = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
       console.log('pids', process.pid, helper.pid);
       process.on('SIGTERM', () => {});  // stubborn
       if (process.env.RANK === '1') setTimeout(() => process.exit(7), 1500);
       setInterval(() => {}, 1000);`,
    );
    const job = tierra(['run', '-n', '3', file]);
    const { code, out, err } = await job.ended;
    expect(code).toBe(7);
    expect(err).toContain('rank 1 ended with exit code 7; stopping the others');
    const pids = [...out.matchAll(/pids (\d+) (\d+)/g)].flatMap((match) => [Number(match[1]), Number(match[2])]);
    expect(pids).toHaveLength(6);
    await until(() => !pids.some(isAlive), 'all gone');
  });

  it('names the signal of a rank that was killed', async () => {
    const file = script(
      scratch(),
      'killed.mjs',
      `if (process.env.RANK === '0') process.kill(process.pid, 'SIGKILL'); ${waitForever}`,
    );
    const { code, err } = await tierra(['run', '-n', '2', file]).ended;
    expect(code).toBe(137);
    expect(err).toContain('rank 0 ended with SIGKILL (exit code 137)');
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('passes %s on once and lets ranks finish what they do', async (name, code) => {
    const file = script(
      scratch(),
      'polite.mjs',
      `let times = 0;
       process.on('${name}', () => { times++; setTimeout(() => { console.log('saved', times); process.exit(3); }, 700); });
       console.log('ready'); ${waitForever}`,
    );
    const job = tierra(['run', '-n', '2', file]);
    await job.seen(/\[0\] ready[\s\S]*\[1\] ready|\[1\] ready[\s\S]*\[0\] ready/);
    job.child.kill(name);
    const ended = await job.ended;
    expect(ended.code).toBe(code);
    expect(linesOf(ended.out)).toEqual({ 0: ['ready', 'saved 1'], 1: ['ready', 'saved 1'] });
  });

  it('leaves no rank behind when it is killed itself', async () => {
    const file = script(
      scratch(),
      'alive.mjs',
      `console.log('pid', process.pid); process.on('SIGTERM', () => {}); ${waitForever}`,
    );
    const job = tierra(['run', '-n', '2', file]);
    await job.seen(/\] pid[\s\S]*\] pid/);
    const pids = [...job.out.matchAll(/pid (\d+)/g)].map((match) => Number(match[1]));
    expect(pids.filter(isAlive)).toHaveLength(2);
    job.child.kill('SIGKILL');
    await until(() => !pids.some(isAlive), 'ranks gone with their launcher');
  });

  it('starts again after a failure, with fewer ranks where a place fails twice', async () => {
    const folder = scratch();
    const file = script(
      folder,
      'again.mjs',
      `import { existsSync, writeFileSync } from 'node:fs';
       const { RANK, TIERRA_RESTART, WORLD_SIZE } = process.env;
       console.log('start', TIERRA_RESTART, WORLD_SIZE);
       const started = (rank) => process.argv[2] + TIERRA_RESTART + '-' + rank;
       writeFileSync(started(RANK), '');
       // It fails once the others are there, and not before they have said so.
       const fail = () => [0, 2].every((rank) => existsSync(started(rank))) && process.exit(5);
       if (WORLD_SIZE === '3') setInterval(RANK === '1' ? fail : () => {}, 20);`,
    );
    const { code, out, err } = await tierra(
      ['run', '-n', '3', '--restarts', '3', '--min-ranks', '2', file, 'a'],
      {},
      folder,
    ).ended;
    expect(code).toBe(0);
    expect(linesOf(out)['0']).toEqual(['start 0 3', 'start 1 3', 'start 2 2']);
    expect(err).toContain('restart 2 of 3, on 2 ranks (rank 1 ended with exit code 5)');

    const given = await tierra(['run', '-n', '3', '--restarts', '1', file, 'b'], {}, folder).ended;
    expect(given.code).toBe(5);
    expect(linesOf(given.out)['0']).toEqual(['start 0 3', 'start 1 3']);
  });

  it('writes a file for each rank', async () => {
    const folder = scratch();
    const file = script(
      folder,
      'log.ts',
      "const rank: string = process.env.RANK!; console.log('out', rank); console.error('err', rank);",
    );
    const { code, out, err } = await tierra(['run', '-n', '2', '--log-dir', 'logs/a', file], {}, folder).ended;
    expect({ code, out, err }).toEqual({ code: 0, out: 'out 0\n', err: 'err 0\n' });
    const read = (rank: number) =>
      readFileSync(path.join(folder, `logs/a/rank-${rank}.log`), 'utf8')
        .split('\n')
        .sort();
    expect(read(0)).toEqual(['', 'err 0', 'out 0']);
    expect(read(1)).toEqual(['', 'err 1', 'out 1']);
  });

  it('keeps up with floods, and with lines that have no end', async () => {
    const file = script(
      scratch(),
      'flood.mjs',
      `for (let i = 0; i < 20000; i++) process.stdout.write('line ' + i + ' ' + 'x'.repeat(100) + '\\n');
       process.stdout.write('y'.repeat(300000));`,
    );
    const { code, out } = await tierra(['run', '-n', '2', file]).ended;
    expect(code).toBe(0);
    for (const lines of Object.values(linesOf(out))) {
      expect(lines.slice(0, 20_000).every((line, i) => line.startsWith(`line ${i} x`))).toBe(true);
      expect(lines.slice(20_000).join('')).toBe('y'.repeat(300_000));
    }
  });

  it('says what is wrong with a command line', async () => {
    const folder = scratch();
    const text = script(folder, 'notes.txt', '');
    const refused = async (...args: string[]): Promise<string> => {
      const { code, stderr } = await runHere(folder, ['run', ...args]);
      expect(code).not.toBe(0);
      expect(stderr).not.toMatch(/^\s+at /m);
      return stderr;
    };
    expect(await refused()).toContain('<script> is missing');
    expect(await refused('-n', 'many', text)).toContain('-n: expected a whole number >= 1, got "many"');
    expect(await refused('nowhere.ts')).toContain('nowhere.ts: no such file');
    expect(await refused(text)).toContain('neither a program nor a configuration');
    expect(await refused('-n', '2', '--min-ranks', '3', text)).toContain('--min-ranks 3 exceeds the 2 ranks');
    expect(existsSync(path.join(folder, 'nowhere.ts'))).toBe(false);
  });
});
