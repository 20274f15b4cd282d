"""A Socket.IO room server as python-socketio's documentation shows it, with its Redis manager between the replicas.

PORT, HOST, REDIS_URL, NODE_ID; HANDLERS=one handles the events of a client one after another.
"""

import os

import socketio
import uvicorn

NODE_ID = os.environ.get("NODE_ID", "")

server = socketio.AsyncServer(
    async_mode="asgi",
    client_manager=socketio.AsyncRedisManager(os.environ["REDIS_URL"]),
    async_handlers=os.environ.get("HANDLERS") != "one",
)


# The ASGI driver lets nobody add a header to the handshake's answer: so a replica says who it is by an event.
@server.event
async def connect(sid, environ):
    await server.emit("welcome", {"node": NODE_ID}, to=sid, ignore_queue=True)


# What a handler returns is the ack, if one was asked for: there is one even for a handler that returns nothing.
@server.on("joinRoom")
async def join_room(sid, data):
    await server.enter_room(sid, data["room"])


@server.on("leaveRoom")
async def leave_room(sid, data):
    await server.leave_room(sid, data["room"])


@server.on("message")
async def message(sid, data):
    await server.emit("message", {"userId": data["userId"], "message": data["message"]}, room=data["room"])
    return {"ok": True}


@server.on("all")
async def to_all(sid, data):
    await server.emit("all", {"message": data["message"]})


uvicorn.run(
    socketio.ASGIApp(server),
    host=os.environ.get("HOST", "127.0.0.1"),
    port=int(os.environ["PORT"]),
    log_level="warning",
)
