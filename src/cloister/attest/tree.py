"""The processes that one carrier serves: the program that it was started for, and what descends from it.

The guard of a software enclave traces every process of its tree, and nobody else can trace them. So whoever has the
same tracer, which is still the same process, belongs to the tree (runtime/src/guard.c).
"""

import contextlib

from cloister.attest.peer import File, Process, file_digest, file_of
from cloister.errors import NotAttested
from cloister.evidence.software import Guard
from cloister.launch import _abi

__all__ = ["Tree"]


class Tree:
    """Known by the process that starts it, then by its guard.

    `starter` is the process that will execute `runtime`. Where this user may not see which file a process executes,
    because the runtime's file gives it capabilities, the starter's word that it executed the runtime is what there is;
    it runs as the same user, who also holds the host's key.
    """

    def __init__(self, starter: Process, runtime: str) -> None:
        self.starter = starter
        self.guard: Process | None = None
        self.begun = False
        self._path, self._file = runtime, file_of(runtime)
        self.runtime = b""

    def begin(self, peer: Process, *, guarded: bool) -> None:
        """The runtime greets, before the program runs. NotAttested if it is not who was started, or greets again."""
        if not peer.same(self.starter):
            raise NotAttested(f"process {peer.pid} is not the one that this attester was started for")
        if self.begun:
            raise NotAttested("the program's start was already attested; it is once only")
        self._check_file(peer, "the process")
        self._check_filters(peer)
        tracer = peer.tracer
        if guarded and not tracer:
            raise NotAttested("the process says that it is guarded, and nothing traces it")
        if guarded:
            self.guard = self._guard(tracer)
            if peer.tracer != tracer:
                raise NotAttested("the process lost its guard")
        self.runtime = peer.digest() or file_digest(self._path)
        self.begun = True

    @staticmethod
    def _check_filters(peer: Process) -> None:
        """Nobody who greets stands under a seccomp filter.

        The runtime greets before it installs its own, and programs run only after: who greets under one is a program,
        which may say anything. Or the filter was there before: then whoever made it may answer system calls in the
        kernel's place (SECCOMP_RET_USER_NOTIF), memfd_secret(2) by memory that he can read.
        """
        if peer.filters:
            raise NotAttested(
                f"process {peer.pid} greets under a seccomp filter: it is no runtime that has just started, or was "
                "started where others may answer its system calls; in a container: --security-opt seccomp=unconfined"
            )

    def _guard(self, pid: int) -> Process:
        with contextlib.ExitStack() as held:
            guard = held.enter_context(Process(pid))
            self._check_file(guard, "its tracer")
            if guard.name != _abi.COMM_GUARD:
                raise NotAttested(f"process {pid}, which traces the program, is no guard")
            held.pop_all()
        return guard

    def _check_file(self, process: Process, what: str) -> None:
        found: File | None = process.file
        if found is not None and found != self._file:
            raise NotAttested(f"{what} ({process.pid}) does not execute {self._path}")

    @property
    def state(self) -> Guard:
        """Whether the guard pair was armed at the start."""
        return Guard.OFF if self.guard is None else Guard.ARMED

    @property
    def witness(self) -> Process:
        """Whose end is the tree's: the guard's, which lives as long as any process of it."""
        return self.guard or self.starter

    def expect(self, peer: Process) -> None:
        """NotAttested for who is neither the process that was started nor of its tree: it is not even listened to."""
        if peer.same(self.starter):
            return
        if not self.begun:
            raise NotAttested(f"process {peer.pid} is not the one that this attester was started for")
        self.check(peer)

    def check(self, peer: Process) -> None:
        """NotAttested if the peer does not belong to the tree, or the tree was never attested."""
        if not self.begun:
            raise NotAttested("the program has not been attested yet")
        self._check_file(peer, "the process")
        traced = self.guard is not None and peer.tracer == self.guard.pid and self.guard.alive
        belongs = traced if self.guard is not None else peer.same(self.starter)
        if not belongs:
            raise NotAttested(f"process {peer.pid} is not of the program that this attester was started for")
