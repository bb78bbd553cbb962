"""Worker processes that hold the secret: Pool, Queue, Lock, Value, shared memory. Started as `argv[1]` says."""
# ruff: noqa: T201 - it talks to its test

import multiprocessing
import multiprocessing.context
import os
import sys
from multiprocessing import shared_memory
from multiprocessing.sharedctypes import Synchronized

Context = multiprocessing.context.ForkContext | multiprocessing.context.SpawnContext
secret = ""


def hold(text: str) -> None:
    global secret  # noqa: PLW0603 - a worker keeps it as long as it lives
    secret = text


def work(number: int) -> tuple[int, int]:
    return number * number, len(secret)


def count(value: "Synchronized[int]", name: str, box: "multiprocessing.Queue[int]") -> None:
    for _ in range(300):
        with value.get_lock():
            value.value += 1
    memory = shared_memory.SharedMemory(name)
    assert memory.buf is not None
    memory.buf[0] += 1
    memory.close()
    box.put(os.getpid())


def main() -> None:
    text = sys.stdin.readline().strip()
    context: Context = (
        multiprocessing.get_context("fork") if sys.argv[1] == "fork" else multiprocessing.get_context("spawn")
    )
    with context.Pool(3, initializer=hold, initargs=(text,)) as pool:
        print(pool.map(work, range(20)))
        print("ready", flush=True)
        sys.stdin.readline()
        print(pool.apply_async(work, (9,)).get(20), sum(value for value, _ in pool.imap_unordered(work, range(100))))
        pool.close()
        pool.join()
    share_numbers(context)


def share_numbers(context: Context) -> None:
    memory = shared_memory.SharedMemory(create=True, size=4096)
    assert memory.buf is not None
    value, box = context.Value("i", 0), context.Queue()
    workers = [context.Process(target=count, args=(value, memory.name, box)) for _ in range(2)]
    for number, worker in enumerate(workers):
        worker.start()
        assert box.get(timeout=30) == worker.pid
        worker.join()
        print(number, value.value, memory.buf[0], worker.exitcode)
    memory.close()
    memory.unlink()


if __name__ == "__main__":
    main()
