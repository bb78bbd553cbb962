"""siginfo_t as text. Source: sigaction(2), `include/uapi/asm-generic/siginfo.h`."""

import signal
import struct

from cloister.observe.trace.decode.scalars import signal_name

__all__ = ["siginfo_text"]

HEAD = struct.Struct("<iii")
SENDER = struct.Struct("<II")
FAULT = struct.Struct("<Q")
UNION = 16  # offset of the part that depends on the signal
CODES = {0: "SI_USER", 0x80: "SI_KERNEL", -1: "SI_QUEUE", -2: "SI_TIMER", -6: "SI_TKILL"}
CHILD_CODES = {
    1: "CLD_EXITED",
    2: "CLD_KILLED",
    3: "CLD_DUMPED",
    4: "CLD_TRAPPED",
    5: "CLD_STOPPED",
    6: "CLD_CONTINUED",
}
FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP)
SENT = (0, -1, -6)


def siginfo_text(info: bytes) -> str:
    """`{si_signo=SIGINT, si_code=SI_USER, si_pid=12, si_uid=0}`."""
    number, _, code = HEAD.unpack_from(info)
    child = number == signal.SIGCHLD and code > 0
    named = (CHILD_CODES if child else CODES).get(code, str(code))
    fields = [f"si_signo={signal_name(number)}", f"si_code={named}"]
    if code in SENT or child:
        pid, uid = SENDER.unpack_from(info, UNION)
        fields += [f"si_pid={pid}", f"si_uid={uid}"]
    elif number in FAULTS and code > 0 and named == str(code):
        fields.append(f"si_addr={FAULT.unpack_from(info, UNION)[0]:#x}")
    return "{" + ", ".join(fields) + "}"
