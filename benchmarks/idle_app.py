"""A server that does nothing, to see how many requests load.py can send: its port is printed."""

import asyncio

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Idle(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if not data.endswith(b"\n"):  # what is sent here ends with a line
            return
        self.transport.write(ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(Idle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
