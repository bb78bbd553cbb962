"""What POSIX and Linux say of files, as many small checks in the directory that is given; one line for each.

`ok NAME`, or `FAIL NAME: what happened`. Further arguments are the checks to make; all of them without.
"""

import os
import sys

from tests.system.programs.files import posix_data, posix_names, posix_open, posix_sharing, posix_status
from tests.system.programs.files.checking import CHECKS

MODULES = (posix_data, posix_names, posix_open, posix_sharing, posix_status)


def main() -> int:
    """Run the checks in directories below the one given; how many failed, at most 100."""
    base, wanted = os.path.abspath(sys.argv[1]), sys.argv[2:]
    failed = 0
    for function in CHECKS:
        if wanted and function.__name__ not in wanted:
            continue
        place = os.path.join(base, function.__name__)
        os.makedirs(place)
        os.chdir(place)
        try:
            function()
            print(f"ok {function.__name__}", flush=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this check's failure
            failed += 1
            line = error.__traceback__.tb_next.tb_lineno if error.__traceback__ and error.__traceback__.tb_next else 0
            print(f"FAIL {function.__name__}: {type(error).__name__} in line {line}: {error}", flush=True)
        finally:
            os.chdir(base)
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
