"""asyncio with the secret going over a loopback connection and through a child process; signals wake the loop."""
# ruff: noqa: T201 - it talks to its test

import asyncio
import contextlib
import os
import signal
import sys


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line[::-1])
        await writer.drain()
    writer.close()


async def main() -> None:
    secret = (await asyncio.to_thread(sys.stdin.readline)).strip()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(secret.encode() + b"\n")
    await reader.readline()
    child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print((await child.communicate(b"through cat"))[0], child.returncode)
    woken = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, woken.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(woken.wait(), 20)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.sleep(20), 0.02)
    print(await asyncio.gather(*(asyncio.sleep(0.001, number) for number in range(50))))
    writer.close()
    server.close()


asyncio.run(main())
