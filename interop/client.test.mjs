// socket.io-client as everybody has it, but for `transports`, against three replicas.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { io } from 'socket.io-client';
import { WebSocket } from 'ws';
import { Inbox, startCluster, within } from './cluster.mjs';

let cluster;
const open = new Set();

before(async () => { cluster = await startCluster(3); });
after(async () => {
  open.forEach((close) => close());
  await cluster?.stop();
});

/** Connects to replica `index`; what comes by itself is in `inbox` as [event, argument]. */
async function connect(index, options = {}) {
  const socket = io(`http://${cluster.replicas[index].address}`, { transports: ['websocket'], forceNew: true, ...options });
  open.add(() => socket.disconnect());
  const inbox = new Inbox();
  for (const event of ['message', 'all', 'error', 'gap']) socket.on(event, (argument) => inbox.put([event, argument]));
  await happens(socket, 'connect');
  return { socket, inbox };
}

function happens(emitter, event) {
  return within(new Promise((resolve) => emitter.once(event, resolve)), event);
}

async function join({ socket }, room) {
  const ack = await socket.emitWithAck('joinRoom', { room });
  assert.equal(ack.ok, true, JSON.stringify(ack));
}

/** A client of the native protocol. */
async function native(index) {
  const socket = new WebSocket(`ws://${cluster.replicas[index].address}/ws`);
  open.add(() => socket.terminate());
  const inbox = new Inbox();
  socket.on('message', (text) => inbox.put(JSON.parse(text)));
  socket.on('upgrade', ({ headers }) => { socket.node = headers['x-node-id']; });
  const { session } = await inbox.next('hello');
  return { socket, session, inbox, say: (frame) => socket.send(JSON.stringify(frame)) };
}

test('a message reaches the room on every replica, and nobody else', async () => {
  const members = await Promise.all([0, 1, 2].map((index) => connect(index)));
  const outsider = await connect(1);
  for (const member of members) await join(member, 'tea');
  const sent = { userId: 'u1', room: 'tea', message: 'hi' };
  const ack = await members[0].socket.emitWithAck('message', sent);
  assert.equal(ack.ok, true);
  assert.equal(ack.position.offset, 1);
  for (const member of members) assert.deepEqual(await member.inbox.next('hi'), ['message', sent]);
  await outsider.socket.emitWithAck('all', { message: { to: ['everybody', null] } });
  for (const member of [...members, outsider]) {
    assert.deepEqual(await member.inbox.next('all'), ['all', { message: { to: ['everybody', null] } }]);
  }
});

test('acks: callback, emitWithAck, timeout, errors', async () => {
  const { socket, inbox } = await connect(0);
  const answered = new Promise((resolve) => socket.emit('joinRoom', { room: 'acks' }, resolve));
  assert.equal((await within(answered, 'the callback')).ok, true);
  assert.equal((await socket.timeout(5000).emitWithAck('message', { room: 'acks', message: 1 })).ok, true);
  assert.deepEqual(await inbox.next('own'), ['message', { userId: socket.id, room: 'acks', message: 1 }]);
  const refused = await socket.emitWithAck('message', { room: 'elsewhere', message: 1 });
  assert.equal(refused.ok, false);
  assert.equal(refused.error, 'not_in_room');
  assert.match(refused.message, /elsewhere/);
  socket.emit('dance', {});
  const [event, { error }] = await inbox.next('error');
  assert.deepEqual([event, error], ['error', 'bad_request']);
  assert.equal((await socket.emitWithAck('leaveRoom', { room: 'acks' })).ok, true);
  assert.equal((await socket.emitWithAck('leaveRoom', { room: 'acks' })).error, 'not_in_room');
});

test('a message sent again with its key is one message', async () => {
  const { socket, inbox } = await connect(0);
  await join({ socket }, 'again');
  const message = { room: 'again', message: 'once', key: 'a2f1' };
  const first = await socket.emitWithAck('message', message);
  assert.deepEqual(await socket.emitWithAck('message', message), first);
  await socket.emitWithAck('message', { room: 'again', message: 'end' });
  assert.equal((await inbox.next())[1].message, 'once');
  assert.equal((await inbox.next())[1].message, 'end');
});

test('binary arrives as binary', async () => {
  const [sender, member, other] = await Promise.all([connect(0), connect(1), native(1)]);
  await join(sender, 'bytes');
  await join(member, 'bytes');
  other.say({ op: 'join', ref: 1, room: 'bytes' });
  await other.inbox.next('ack');
  const message = { name: 'a.bin', parts: [Buffer.from([0, 1, 2, 255]), Uint8Array.of(7)] };
  assert.equal((await sender.socket.emitWithAck('message', { userId: 7, room: 'bytes', message })).ok, true);
  const [, got] = await member.inbox.next('bytes');
  assert.equal(got.userId, 7);
  assert.equal(got.message.name, 'a.bin');
  assert.ok(got.message.parts.every(Buffer.isBuffer));
  assert.deepEqual(got.message.parts.map((part) => [...part]), [[0, 1, 2, 255], [7]]);
  const delivery = await other.inbox.next('bytes');
  assert.deepEqual(delivery.attachments, ['AAEC/w==', 'Bw==']);
  assert.deepEqual(delivery.data.parts[1], { _placeholder: true, num: 1 });
  await sender.socket.emitWithAck('all', { message: Buffer.alloc(40_000, 9) });
  const [event, { message: large }] = await member.inbox.next('large');
  assert.deepEqual([event, large.length, large[39_999]], ['all', 40_000, 9]);
});

test('a native client is one of the room', async () => {
  const [{ socket, inbox }, other] = await Promise.all([connect(0), native(2)]);
  assert.equal(other.socket.node, 'app-3');
  await join({ socket }, 'mixed');
  other.say({ op: 'join', ref: 1, room: 'mixed' });
  assert.equal((await other.inbox.next('ack')).op, 'ack');
  await socket.emitWithAck('message', { userId: 'u1', room: 'mixed', message: { text: 'hi' } });
  const { position, ...delivery } = await other.inbox.next('delivery');
  assert.deepEqual(delivery, { op: 'message', room: 'mixed', from: socket.id, userId: 'u1', data: { text: 'hi' } });
  assert.equal((await inbox.next())[1].userId, 'u1');
  other.say({ op: 'send', ref: 2, room: 'mixed', data: ['ho'] });
  assert.deepEqual(await inbox.next(), ['message', { userId: other.session, room: 'mixed', message: ['ho'] }]);
  other.say({ op: 'send', ref: 3, all: true, data: 'everybody' });
  assert.deepEqual(await inbox.next(), ['all', { message: 'everybody' }]);
  // One order for both: what each heard of a race is the same.
  const heard = [[], []];
  for (let number = 0; number < 50; number += 1) {
    socket.emit('message', { room: 'mixed', message: `s${number}` });
    other.say({ op: 'send', ref: 10 + number, room: 'mixed', data: `n${number}` });
  }
  while (heard[0].length < 100) heard[0].push((await inbox.next())[1].message);
  while (heard[1].length < 100) {
    const frame = await other.inbox.next();
    if (frame.op === 'message' && /^[sn]\d+$/.test(frame.data)) heard[1].push(frame.data);
  }
  assert.deepEqual(heard[0], heard[1]);
});

for (const signal of ['SIGKILL', 'SIGTERM']) {
  test(`it comes back by itself when its replica does, after ${signal}`, async () => {
    const room = `back after ${signal}`;
    const [here, there] = await Promise.all([connect(2), connect(1)]);
    await join(here, room);
    await join(there, room);
    const gone = happens(here.socket, 'disconnect');
    await cluster.replicas[2].kill(signal);
    assert.equal(await gone, 'transport close');
    assert.equal((await there.socket.emitWithAck('message', { room, message: 'unheard' })).ok, true);
    const back = happens(here.socket, 'connect');
    await cluster.replicas[2].start();
    await back;
    assert.ok(!here.socket.recovered, 'nothing is claimed that is not done');
    await join(here, room);
    await there.socket.emitWithAck('message', { room, message: 'heard' });
    assert.equal((await here.inbox.next('heard'))[1].message, 'heard');
  });
}

test('disconnect and connect again', async () => {
  const [leaver, stayer] = await Promise.all([connect(0), connect(0)]);
  await join(leaver, 'gone');
  await join(stayer, 'gone');
  const reason = happens(leaver.socket, 'disconnect');
  leaver.socket.disconnect();
  assert.equal(await reason, 'io client disconnect');
  await stayer.socket.emitWithAck('message', { room: 'gone', message: 'unheard' });
  leaver.socket.connect();
  await happens(leaver.socket, 'connect');
  await join(leaver, 'gone');
  await stayer.socket.emitWithAck('message', { room: 'gone', message: 'heard' });
  assert.equal((await leaver.inbox.next())[1].message, 'heard');
});

test('other namespaces and polling are refused clearly', async () => {
  const address = `http://${cluster.replicas[0].address}`;
  const admin = io(`${address}/admin`, { transports: ['websocket'], forceNew: true, reconnection: false });
  open.add(() => admin.disconnect());
  assert.equal((await happens(admin, 'connect_error')).message, 'Invalid namespace');
  const polling = await fetch(`${address}/socket.io/?EIO=4&transport=polling`);
  assert.equal(polling.status, 400);
  const { code, message } = await polling.json();
  assert.equal(code, 0);
  assert.match(message, /only websocket/);
});
