"""What the Python tests stand on: real servers, real clients, and conditions to wait for.

In reading order: `process` runs programs that end with the test, `redis_server` and the services (`service`: `gateway`
and `hub`) are such, `client` drives a real Socket.IO or WebSocket client as another, `guests` are all those of a
gateway, a `wire` to it can be cut, `audience` says who may see what, `crew` is a consumer group whose members die,
`tokens` signs keys' tokens, `wait` waits.
"""
