// Chromium: the page at / as somebody uses it, and socket.io-client as browsers load it.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, afterEach, test } from 'node:test';
import { chromium } from 'playwright-core';
import { PATIENCE, startCluster } from './cluster.mjs';

const ARGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
const BUNDLE = join(dirname(createRequire(import.meta.url).resolve('socket.io-client/package.json')), 'dist/socket.io.min.js');
/** A folder to keep pictures of the page in. */
const PICTURES = process.env.PICTURES;

let cluster, browser, page, complaints;

before(async () => {
  cluster = await startCluster(3);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGS });
});
after(async () => {
  await browser?.close();
  await cluster?.stop();
});
beforeEach(async () => {
  page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.setDefaultTimeout(PATIENCE);
  complaints = [];
  page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()); });
  page.on('pageerror', (error) => complaints.push(String(error)));
});
afterEach(() => page.close());

const client = (number) => page.locator('.client').nth(number - 1);

async function says(number, text) {
  await client(number).getByLabel('Messages').getByText(text).waitFor();
}

async function joins(number, room) {
  await client(number).getByLabel('Room', { exact: true }).fill(room);
  await client(number).getByRole('button', { name: 'Join' }).click();
  await says(number, `joined ${room}`);
}

async function sends(number, text, button = 'Send') {
  await client(number).getByLabel('Message', { exact: true }).fill(text);
  await client(number).getByRole('button', { name: button, exact: true }).click();
}

test('the page: clients on three replicas, in both protocols', async () => {
  await page.goto(`http://${cluster.replicas[0].address}/`);
  assert.equal(await page.title(), 'ws-server app-1');
  await says(1, /connected as app-1-\d+ to app-1, native/);
  await says(2, /connected as app-2-\d+ to app-2, native/);
  await page.getByLabel('Protocol').selectOption('Socket.IO');
  await page.getByRole('button', { name: 'Add client' }).click();
  await says(3, /connected as app-3-\d+, Socket.IO/);
  await joins(1, 'tea');
  await joins(3, 'tea');
  await joins(2, 'coffee');
  await sends(1, 'Is there any left?');
  await sends(3, 'A whole pot <b>of it</b>.');
  for (const number of [1, 3]) {
    await says(number, 'Is there any left?');
    await says(number, 'A whole pot <b>of it</b>.');
  }
  await sends(2, 'Kettle’s on', 'To all');
  for (const number of [1, 2, 3]) await says(number, 'Kettle’s on');
  // Behind what went to all, nothing of the room is still on its way to the other room.
  assert.equal(await client(2).locator('.count').textContent(), '1 message');
  assert.equal(await client(1).locator('.count').textContent(), '3 messages');
  if (PICTURES) await page.screenshot({ path: join(PICTURES, 'page.png'), fullPage: true });

  await client(2).getByLabel('Room', { exact: true }).fill('nowhere');
  await sends(2, 'hello?');
  await says(2, /not_in_room/);
  await client(3).getByTitle('Leave tea').click();
  await says(3, 'left tea');
  await client(1).getByRole('button', { name: 'Disconnect' }).click();
  await says(1, 'closed: 1000');
  await client(1).getByRole('button', { name: 'Connect' }).click();
  await client(1).getByLabel('Messages').getByText('connected as').nth(1).waitFor();
  await client(2).getByRole('button', { name: 'Remove' }).click();
  await page.locator('.client').nth(2).waitFor({ state: 'detached' });
  assert.deepEqual(complaints, []);
});

test('the page on a telephone, in the dark', async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.goto(`http://${cluster.replicas[1].address}/`);
  await says(1, /connected as app-2/);
  await joins(1, 'tea');
  await sends(1, 'from a telephone '.repeat(5));
  await says(1, 'from a telephone');
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `it is ${width} wide`);
  if (PICTURES) await page.screenshot({ path: join(PICTURES, 'telephone.png') });
  assert.deepEqual(complaints, []);
});

test('socket.io-client in a browser, on two replicas', async () => {
  await page.addScriptTag({ path: BUNDLE });
  const urls = cluster.replicas.slice(0, 2).map(({ address }) => `http://${address}`);
  const heard = await page.evaluate(async (urls) => {
    const sockets = urls.map((url) => window.io(url, { transports: ['websocket'] }));
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.on('connect', resolve))));
    const [here, there] = sockets;
    const events = new Promise((resolve) => {
      const events = [];
      const keep = (name) => ({ message }) => {
        events.push([name, message instanceof ArrayBuffer ? [...new Uint8Array(message)] : message]);
        if (events.length === 3) resolve(events);
      };
      there.on('message', keep('message'));
      there.on('all', keep('all'));
    });
    for (const socket of sockets) await socket.emitWithAck('joinRoom', { room: 'browser' });
    const acks = [
      await here.emitWithAck('message', { userId: 'u1', room: 'browser', message: 'hi' }),
      await here.emitWithAck('message', { userId: 'u1', room: 'browser', message: Uint8Array.of(1, 2, 3) }),
      await here.emitWithAck('all', { message: 'everybody' }),
    ];
    const result = { acks: acks.map(({ ok }) => ok), events: await events };
    sockets.forEach((socket) => socket.disconnect());
    return result;
  }, urls);
  // The room has one order and what goes to all another.
  const inRoom = heard.events.filter(([name]) => name === 'message');
  assert.deepEqual(heard.acks, [true, true, true]);
  assert.deepEqual(inRoom, [['message', 'hi'], ['message', [1, 2, 3]]]);
  assert.deepEqual(heard.events.filter(([name]) => name === 'all'), [['all', 'everybody']]);
  assert.deepEqual(complaints, []);
});
