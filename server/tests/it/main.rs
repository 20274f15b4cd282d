//! The server from outside: real sockets, an independent WebSocket client, and a Redis of its own for every test.

mod broker;
mod bug;
mod client;
mod heartbeat;
mod http;
mod limits;
mod link;
mod mistakes;
mod outage;
mod peer;
mod redis;
mod replica;
mod resume;
mod rooms;
mod shutdown;
mod socketio;
