// A Socket.IO room server as its documentation shows it, with a Redis adapter between the replicas. It is what ws-server
// is compared with: no weaker than a well-written app, and no stronger than the libraries are by themselves.
//
// PORT, HOST, REDIS_URL, NODE_ID; ADAPTER is redis, redis-streams or none; ACKS=0 answers no request.
import { createServer } from "node:http";
import { hostname } from "node:os";
import { createAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const {
  PORT = "80",
  HOST = "0.0.0.0",
  REDIS_URL = "redis://127.0.0.1:6379",
  NODE_ID = hostname(),
  ADAPTER = "redis",
  ACKS = "1",
} = process.env;

const log = (...words) => console.log(new Date().toISOString(), NODE_ID, ...words);

const clients = [];

// Connects, and comes back by the client's own strategy. Without a listener of "error" a lost connection ends the process.
async function connect(name, client) {
  client.on("error", (error) => log(`redis ${name}:`, error.code ?? error.message));
  client.on("ready", () => log(`redis ${name}: ready`));
  clients.push(client);
  await client.connect();
  return client;
}

// The redis adapter publishes without looking at the answer, so what fails with the connection would end the process here.
process.on("unhandledRejection", (error) => log("not handled:", error?.message ?? error));

async function options() {
  if (ADAPTER === "none") return {};
  const client = createClient({ url: REDIS_URL });
  switch (ADAPTER) {
    case "redis": {
      const [pub, sub] = await Promise.all([connect("pub", client), connect("sub", client.duplicate())]);
      return { adapter: createAdapter(pub, sub) };
    }
    case "redis-streams":
      // This adapter makes the connections that it reads from itself. It alone can bring back what a client missed.
      return { adapter: createStreamsAdapter(await connect("pub", client)), connectionStateRecovery: {} };
    default:
      throw new Error(`ADAPTER=${ADAPTER}: there are redis, redis-streams and none`);
  }
}

const http = createServer((request, response) => {
  const status = { "/livez": 200, "/readyz": clients.every((client) => client.isReady) ? 200 : 503 }[request.url] ?? 404;
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify({ node: NODE_ID, ok: status === 200 }));
});

const io = new Server(http, await options());

// Who tests the cluster has to know which replica answered, also behind a balancer.
io.engine.on("headers", (headers) => {
  headers["x-node-id"] = NODE_ID;
});

io.on("connection", (socket) => {
  // A request that wants no answer comes without `ack`. An ack says that the event was handled: the adapters do not say
  // when Redis has it.
  const on = (event, handle) =>
    socket.on(event, (data, ack) => {
      handle(data ?? {});
      if (ACKS !== "0" && typeof ack === "function") ack({ ok: true });
    });

  on("joinRoom", ({ room }) => socket.join(room));
  on("leaveRoom", ({ room }) => socket.leave(room));
  on("message", ({ userId, room, message }) => io.to(room).emit("message", { userId, room, message }));
  on("all", ({ message }) => io.emit("all", { message }));
});

// As process 1 of a container it gets no default action for these signals.
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => {
    log(signal);
    io.close().finally(() => process.exit(0));
  });
}

http.listen(Number(PORT), HOST, () => log(`on ${HOST}:${PORT}, adapter ${ADAPTER}`));
