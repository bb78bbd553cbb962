"""Evaluates one Rego policy in a process of its own, with little memory and time. Started by `cloister.appraise.rego`.

A policy can loop, and the interpreter is a native library: neither may take the verifier with it. Reads one JSON
object on standard input (`modules`, `input`, `data`, `memory`, `seconds`), writes one on standard output (`value`, or
`error`). Imports nothing of this package: it starts with `python -I` by its path.
"""

import json
import os
import resource
import sys
import threading
import time
from importlib import import_module

__all__: list[str] = []

TOO_MUCH = 3
"""Exit code: out of memory."""


def confine(memory: int, seconds: int) -> None:
    """Limit memory (bytes) and processor time; no files to write, no more descriptors.

    The interpreter's allocator reserves hundreds of gigabytes of addresses, so a limit on those would say nothing: a
    thread watches what is really in memory, and ends the process where it is too much.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (statm + 1, statm + 1))
    threading.Thread(target=watch, args=(statm, memory // resource.getpagesize()), daemon=True).start()


def watch(statm: int, pages: int) -> None:
    """End this process when it has more than so many pages in memory."""
    while int(os.pread(statm, 256, 0).split()[1]) <= pages:
        time.sleep(0.01)
    os._exit(TOO_MUCH)


def evaluated(request: dict[str, object]) -> dict[str, object]:
    """The value of `data.policy`, or what the interpreter complains of."""
    regopy = import_module("regopy")  # before the limits: loading a library takes descriptors
    confine(int(str(request["memory"])), int(str(request["seconds"])))
    regopy.set_default_log_level("None")
    interpreter = regopy.Interpreter()
    try:
        for name, source in request["modules"]:  # type: ignore[attr-defined] # as `rego` writes it
            interpreter.add_module(name, source)
        interpreter.add_data(request["data"])
        interpreter.set_input(request["input"])
        output = interpreter.query("data.policy")
    except regopy.RegoError as error:
        return {"error": str(error)}
    except json.JSONDecodeError as error:  # errors while evaluating come out as text where JSON is expected
        return {"error": error.doc}
    if not output.results or not output.results[0].expressions:
        return {"error": str(output)}
    return {"value": output.results[0].expressions[0]}


def main() -> None:
    """Answer one request. The interpreter prints complaints on standard output, so that leads elsewhere meanwhile."""
    answers = os.dup(1)
    os.dup2(2, 1)
    os.write(answers, json.dumps(evaluated(json.load(sys.stdin))).encode())
    os._exit(0)  # the interpreter's destructors have nothing to say


if __name__ == "__main__":
    main()
