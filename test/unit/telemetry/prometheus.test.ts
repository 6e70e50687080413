/** Metrics as Prometheus reads them: the text format, the port, the file. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { PrometheusRecord } from '../../../src/telemetry/prometheus/prometheusRecord.ts';
import { freePort } from '../../freePort.ts';
import { row } from '../runStore/support.ts';

const run = { name: 'a', totalSteps: 9, completedSteps: 2, parameters: 1, device: 'cpu', precision: 'fp32' };

function told(target: number | string, name = 'small'): { record: PrometheusRecord; troubles: string[] } {
  const troubles: string[] = [];
  const record = new PrometheusRecord({ target, name, onTrouble: (text) => troubles.push(text) });
  onTestFinished(() => record.dispose());
  record.begin(run);
  record.memory(3, [{ tier: 'host', usedBytes: 5, budgetBytes: 10 }]);
  record.step(row(3, { loss: Number.NaN, lossScale: 1024 }));
  record.step(row(4));
  record.event('a NaN', { kind: 'skip' });
  record.evaluation({ step: 4, loss: Number.POSITIVE_INFINITY });
  return { record, troubles };
}

function scratch(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-metrics-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Of the format's lines: `name{labels} value`, after a HELP and a TYPE line of that name. */
function valuesIn(text: string): Record<string, string> {
  const values: Record<string, string> = {};
  let family = '';
  for (const line of text.trimEnd().split('\n')) {
    const head = /^# (HELP|TYPE) ([a-z_]+) (\S.*)$/.exec(line);
    if (head !== null) {
      if (head[1] === 'TYPE') expect(['gauge', 'counter']).toContain(head[3]);
      family = head[2]!;
      continue;
    }
    const sample = /^([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} (NaN|[+-]Inf|[-+.e\d]+)$/.exec(line);
    expect(sample, line).not.toBeNull();
    expect(sample![1]).toBe(family);
    values[`${sample![1]}{${sample![2]}}`] = sample![3]!;
  }
  return values;
}

it('a file holds every value, replaced as a whole', () => {
  const file = path.join(scratch(), 'below', 'tierra.prom');
  const { record, troubles } = told(file, 'a "name"\\');
  const up = 'tierra_up{run="a \\"name\\"\\\\"}';
  expect(valuesIn(readFileSync(file, 'utf8'))[up]).toBe('1');
  record.finish();
  const text = readFileSync(file, 'utf8');
  expect(text.endsWith('\n')).toBe(true);
  const values = valuesIn(text.replaceAll('a \\"name\\"\\\\', 'x'));
  expect(values).toMatchObject({
    'tierra_step{run="x"}': '4',
    'tierra_loss{run="x"}': '4.996',
    'tierra_loss_scale{run="x"}': '1024',
    'tierra_tokens_total{run="x"}': '256',
    'tierra_memory_used_bytes{run="x",tier="host"}': '5',
    'tierra_events_total{run="x",kind="skip"}': '1',
    'tierra_evaluation_loss{run="x"}': '+Inf',
    'tierra_up{run="x"}': '0',
  });
  expect(readdirSync(path.dirname(file))).toEqual(['tierra.prom']);
  expect(troubles).toEqual([]);
});

it('says once that a file cannot be written', () => {
  const folder = scratch();
  writeFileSync(path.join(folder, 'file'), '');
  const { record, troubles } = told(path.join(folder, 'file', 'x.prom'));
  record.finish();
  expect(troubles).toHaveLength(1);
  expect(existsSync(path.join(folder, 'file', 'x.prom'))).toBe(false);
});

interface Reply {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly body: string;
}

const ask = (port: number, url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Reply> =>
  new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, path: url, headers, method, agent: false }, (response) => {
      let body = '';
      response.on('data', (data: Buffer) => {
        body += data.toString();
      });
      response.on('end', () => resolve({ status: response.statusCode, type: response.headers['content-type'], body }));
    })
      .on('error', reject)
      .end();
  });

it('a port of this machine alone answers with the same text, and only to its own name', async () => {
  const port = await freePort();
  const { record, troubles } = told(port);
  const { status, type, body } = await ask(port, '/metrics');
  expect({ status, type }).toEqual({ status: 200, type: 'text/plain; version=0.0.4; charset=utf-8' });
  expect(valuesIn(body)['tierra_step{run="small"}']).toBe('4');
  record.step(row(5));
  expect(valuesIn((await ask(port, '/metrics', { host: `localhost:${port}` })).body)['tierra_step{run="small"}']).toBe(
    '5',
  );
  expect(await ask(port, '/metrics', { host: `rebound.example:${port}` })).toMatchObject({ status: 421 });
  expect(await ask(port, '/')).toMatchObject({ status: 404 });
  expect(await ask(port, '/metrics', {}, 'POST')).toMatchObject({ status: 405 });
  expect(troubles).toEqual([]);
  record.dispose();
  await expect(ask(port, '/metrics')).rejects.toThrow('ECONNREFUSED');
});

it('a port that is taken is said once', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => {
    other.close();
  });
  await new Promise((resolve) => other.once('listening', resolve));
  const { troubles } = told((other.address() as AddressInfo).port);
  await expect.poll(() => troubles).toEqual([expect.stringContaining('EADDRINUSE')]);
});
