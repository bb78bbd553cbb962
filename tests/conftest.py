"""What every test shares: how a test says what it needs, and why it was skipped."""

import functools
import os
import shutil
import signal

import hypothesis
import pytest

from cloister import doctor

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # nginx and setcap are there

# No deadline: the machines that run this are slow at times. No database: a fresh clone behaves the same.
hypothesis.settings.register_profile("cloister", deadline=None, database=None)
hypothesis.settings.load_profile("cloister")


# Ignored signals are inherited: under nohup, what a test starts would not hear a hang-up.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what cannot run on this machine."""
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        pytest.skip("needs root")
    for marker in item.iter_markers("needs_program"):
        missing = [name for name in marker.args if shutil.which(name, path=PATH) is None]
        if missing:
            pytest.skip(f"not installed: {', '.join(missing)} (scripts/install-test-programs --all)")
    if item.get_closest_marker("needs_runtime") and obstacles():
        pytest.skip(f"the software enclave cannot run here: {obstacles()}")


@functools.cache
def obstacles() -> str:
    """Why programs cannot be enclaved on this machine; empty if they can."""
    found = doctor.examine().obstacles
    return "; ".join(f"{check.title}: {check.evidence}" for check in found)
