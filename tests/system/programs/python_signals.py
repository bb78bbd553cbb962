"""Signals inside one program that holds the secret: handlers, timers, sigwait, masks; then deep recursion."""
# ruff: noqa: T201 - it talks to its test

import os
import signal
import sys
import threading
import time
from types import FrameType

secret = sys.stdin.readline().strip()
seen: list[str] = []


def note(number: int, _frame: FrameType | None) -> None:
    seen.append(f"{signal.Signals(number).name}:{len(secret)}")


for one in (signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD, signal.SIGVTALRM, signal.SIGSYS, signal.SIGRTMIN):
    signal.signal(one, note)
os.kill(os.getpid(), signal.SIGUSR1)
os.kill(os.getpid(), signal.SIGRTMIN)
os.kill(os.getpid(), signal.SIGSYS)
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
print("ready", flush=True)
sys.stdin.readline()
print(seen)

seen.clear()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
os.kill(os.getpid(), signal.SIGUSR1)
print(seen, sorted(signal.sigpending()), signal.sigwait({signal.SIGUSR1}))
thread = threading.Thread(target=lambda: print(signal.sigwait({signal.SIGUSR2})))
thread.start()
signal.pthread_kill(thread.ident or 0, signal.SIGUSR2)
thread.join()
pid = os.fork()
if pid == 0:
    os._exit(3)
while "SIGCHLD" not in "".join(seen):
    time.sleep(0.001)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen)
signal.setitimer(signal.ITIMER_VIRTUAL, 0.01)
while len(seen) < 2:
    pass
print(seen)
print(signal.sigtimedwait({signal.SIGUSR1}, 0.01))


def deep(level: int) -> int:
    return level if level == 0 else deep(level - 1)


sys.setrecursionlimit(20000)
print(deep(5000))
