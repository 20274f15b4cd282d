// Replicas of ws-server over a Redis of their own, for one test file; all of it ends with it.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const SERVER = process.env.WS_SERVER ?? join(ROOT, 'target/debug/ws-server');
const REDIS = process.env.REDIS_SERVER ?? 'redis-server';

/** Longer than anything here takes on a busy machine. */
export const PATIENCE = 20_000;

const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

/** Starts Redis and so many replicas, each on a free port, and waits until they are ready. */
export async function startCluster(count) {
  const folder = mkdtempSync(join(tmpdir(), 'ws-interop-'));
  const redis = await freePort();
  const end = start(REDIS, ['--port', redis, '--bind', '127.0.0.1', '--save', '', '--dir', folder]);
  await end.said(/Ready to accept connections/);
  const ports = await Promise.all(Array.from({ length: count }, freePort));
  const replicas = ports.map((port, index) => new Replica(index + 1, port, redis, ports));
  await Promise.all(replicas.map((replica) => replica.start()));
  return {
    replicas,
    async stop() {
      await Promise.all([...replicas.map((replica) => replica.kill()), end.kill()]);
      rmSync(folder, { recursive: true });
    },
  };
}

class Replica {
  constructor(number, port, redis, ports) {
    Object.assign(this, { name: `app-${number}`, port, address: `127.0.0.1:${port}`, redis });
    this.peers = ports.filter((other) => other !== port).map((other) => `127.0.0.1:${other}`);
  }

  async start() {
    this.process = start(SERVER, [
      ...['--listen', this.address, '--node-id', this.name, '--peers', this.peers.join(',')],
      ...['--broker', 'redis-stream', '--redis-url', `redis://127.0.0.1:${this.redis}`, '--threads', '1'],
    ]);
    await until(async () => (await fetch(`http://${this.address}/readyz`)).status === 200);
  }

  kill(signal) {
    return this.process.kill(signal);
  }
}

/** A child, and what it says on either output. */
function start(program, args) {
  const child = spawn(program, args.map(String), { stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  const lines = [];
  const waiting = new Set();
  for (const output of [child.stdout, child.stderr]) {
    createInterface({ input: output }).on('line', (line) => {
      lines.push(line);
      waiting.forEach((look) => look());
    });
  }
  const ended = new Promise((resolve) => {
    child.on('error', (error) => { lines.push(String(error)); resolve(); });
    child.on('exit', resolve);
  }).then(() => children.delete(child));
  return {
    said: (what) => within(Promise.race([
      new Promise((resolve) => waiting.add(() => lines.some((line) => what.test(line)) && resolve())),
      ended.then(() => { throw new Error(`${program} ended: ${lines.join('\n')}`); }),
    ]), `${program} to say ${what}`),
    kill(signal = 'SIGKILL') {
      child.kill(signal);
      return ended;
    },
  };
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Asks until it is so. */
async function until(holds) {
  const deadline = Date.now() + PATIENCE;
  while (!(await holds().catch(() => false))) {
    if (Date.now() > deadline) throw new Error(`never: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** `promise`, or an error that says what did not come. */
export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What comes to one who listens: each is waited for, in order. */
export class Inbox {
  constructor() {
    this.came = [];
    this.waiting = [];
  }

  put(what) {
    const next = this.waiting.shift();
    if (next) next(what);
    else this.came.push(what);
  }

  next(what = 'the next') {
    if (this.came.length > 0) return Promise.resolve(this.came.shift());
    return within(new Promise((resolve) => this.waiting.push(resolve)), what);
  }
}
