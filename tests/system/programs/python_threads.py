"""Threads that all hold the secret: locks, conditions, queues, a pool, thread-local data, many short threads."""
# ruff: noqa: T201 - it talks to its test

import concurrent.futures
import hashlib
import queue
import sys
import threading

secret = sys.stdin.readline().strip()
own = threading.local()
gate = threading.Barrier(5)
stop = threading.Event()
answers: queue.Queue[str] = queue.Queue()
counted = 0
lock = threading.Lock()


def work(number: int) -> None:
    global counted  # noqa: PLW0603 - what the lock is there for
    own.text = f"{number}:{secret}"
    for _ in range(2000):
        with lock:
            counted += 1
    gate.wait()
    stop.wait()
    answers.put(hashlib.sha256(own.text.encode()).hexdigest())


threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
gate.wait()
print("ready", flush=True)
sys.stdin.readline()
stop.set()
for thread in threads:
    thread.join()
print(counted, sorted(answers.get() for _ in threads))
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(lambda number: number * number, range(1000))))
for _ in range(200):
    short = threading.Thread(target=lambda: None)
    short.start()
    short.join()
print(threading.active_count())
