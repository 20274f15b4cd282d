// A SocketCluster server as its documentation shows it, on one node: it carries no message to another one.
//
// PORT, HOST, NODE_ID; PING_MS is how often it asks whether a client is there.
import { createServer } from "node:http";
import socketcluster from "socketcluster-server";

const { PORT = "8000", HOST = "127.0.0.1", NODE_ID = "", PING_MS = "8000" } = process.env;

const http = createServer((request, response) => response.writeHead(404).end());
const pingInterval = Number(PING_MS);
// Who does not answer a few of its questions is cut off: so it is seen that ours are answered.
const server = socketcluster.attach(http, { pingInterval, pingTimeout: 3 * pingInterval });

server.wsServer.on("headers", (headers) => headers.push(`x-node-id: ${NODE_ID}`));

http.listen(Number(PORT), HOST);
