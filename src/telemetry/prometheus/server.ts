import { createServer, type Server } from 'node:http';

/** Names under which this machine is reached from itself: a page in a browser that resolves its own name here is refused. */
const hosts = new Set(['127.0.0.1', 'localhost', '[::1]']);

/**
 * Serves `/metrics` on 127.0.0.1. Requests are answered between steps. Does not keep the process alive; a port that is taken is
 * told to `onTrouble`.
 */
export function serveMetrics(port: number, text: () => string, onTrouble: (text: string) => void): Server {
  const server = createServer((request, response) => {
    const host = (request.headers.host ?? '').replace(/:\d+$/, '');
    const reply = (status: number, body: string, type = 'text/plain; charset=utf-8'): void => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
    };
    if (!hosts.has(host)) reply(421, 'this server answers only to 127.0.0.1 and localhost\n');
    else if (request.method !== 'GET' && request.method !== 'HEAD') reply(405, 'only GET\n');
    else if (request.url?.split('?')[0] !== '/metrics') reply(404, 'look at /metrics\n');
    else reply(200, text(), 'text/plain; version=0.0.4; charset=utf-8');
  });
  server.on('error', (error) => onTrouble(`record.prometheus: no metrics on port ${port}: ${error.message}`));
  server.listen(port, '127.0.0.1');
  server.unref();
  return server;
}
