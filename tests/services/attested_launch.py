"""As `cloister run --broker` starts a program: the carrier, then the runtime in this very process.

    python attested_launch.py PLAN TASK     members of the plan and the fake runtime's task, as JSON

The program in the enclave is the fake runtime, so that what the carrier sees of processes is real. With
`attester` in the task, the real runtime has been provisioned before; without it, the fake one greets in its place.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from cloister.attest.starting import Plan, start_carrier
from cloister.errors import CloisterError
from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path

__all__: list[str] = []


def main() -> None:
    """Print where the carrier listens; become the runtime."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    plan: dict[str, Any] = {"starter": os.getpid(), "runtime": runtime_path(), **given}
    task: dict[str, Any] = json.loads(sys.argv[2])
    options, provisioned = task.pop("options", []), task.pop("attester", False)
    try:
        path = start_carrier(lambda: Plan(**plan))
    except CloisterError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sys.stdout.write(json.dumps(path) + "\n")
    sys.stdout.flush()
    if provisioned:
        options.append(f"{_abi.OPTION_ATTESTER}{path}")
    words = json.dumps({"path": path} | task)
    script = Path(__file__).with_name("fake_runtime.py")
    command = [runtime_path(), *options, "--", sys.executable, "python3", "-I", str(script), words]
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
