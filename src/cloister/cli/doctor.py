"""What this machine offers for confidential computing, what works, and what would fix the rest.

Everything is measured by trying it, in child processes that end at once; nothing on the machine is changed.
"""

import argparse
import json
import os
import sys

from cloister import doctor
from cloister.errors import CannotProtect
from cloister.launch.runtime_file import runtime_path

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  cloister doctor               the report
  cloister doctor --verbose     why each check matters and what would fix it, also for what is fine
  sudo cloister doctor          the same, as the administrator: some devices say more
  sudo setcap cap_ipc_lock+ep "$(cloister doctor --runtime-path)"    let ordinary users lock memory
  cloister doctor --json | jq .software_enclave

exit codes:
  0    the software enclave works here
  120  it cannot run here; the report's last lines say why, and the one command that fixes each reason
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cloister doctor`."""
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout, nothing else")
    parser.add_argument(
        "--runtime-path", action="store_true", help="print where Cloister's runtime file is, nothing else"
    )
    parser.add_argument("--verbose", action="store_true", help="explain every check, not only the failed ones")


def run(args: argparse.Namespace) -> int:
    """Examine this machine: 0 if the software enclave works, else the code of CannotProtect.

    `--runtime-path` raises LaunchError where the runtime is not built.
    """
    if args.runtime_path:
        print(runtime_path())
        return 0
    diagnosis = doctor.examine()
    if args.json:
        print(json.dumps(doctor.as_json(diagnosis), indent=2))
    else:
        colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        print(doctor.render(diagnosis, colour=colour, verbose=args.verbose), file=sys.stderr)
    return 0 if diagnosis.works else CannotProtect.exit_code
