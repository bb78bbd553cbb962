"""The privileged part of an SNP guest, inside the TEE: validates memory, and talks to the firmware past the host.

As Linux does it in a guest (arch/x86/coco/sev/core.c): it remembers which pages it validated, because whoever validates
a page twice accepts what the hypervisor put there in between. Above VMPL 0 this part stands for an SVSM at VMPL 0 and
the guest below it.
"""

from collections.abc import Callable
from typing import Final, NoReturn, Protocol

from cloister.emulate.paging import Access, MemoryFault, Refused, Stage
from cloister.emulate.snp.guest_pages import SEQUENCES, SecretsPage
from cloister.emulate.snp.keys import FieldSelect, RootKey
from cloister.emulate.snp.messages import (
    Channel,
    KeyRequest,
    KeyResponse,
    Message,
    MessageType,
    ReportRequest,
    ReportResponseHeader,
)
from cloister.emulate.snp.report import SUCCESS
from cloister.emulate.snp.rmp import ALL, ReverseMap
from cloister.emulate.snp.rmp_instructions import Caller, Result, pvalidate, rmpadjust
from cloister.errors import CloisterError, NotFresh, ParseError, UsageError
from cloister.measure.guest import BootParameters, parameter_pages
from cloister.measure.image import PAGE

__all__ = ["GuestKernel", "Nested"]

KEY_SIZE: Final = 32
SEQUENCE_SIZE: Final = 4


class Nested(Protocol):
    """The guest-physical memory of one guest, as its processor reaches it."""

    def guest_frame(self, guest_page: int, access: Access) -> memoryview:
        """The 4,096 bytes of a guest page. MemoryFault."""

    def nested_page(self, guest_page: int) -> int:
        """The physical page that the hypervisor's table leads to, for PVALIDATE and RMPADJUST. MemoryFault."""

    def request_private(self, guest_page: int) -> None:
        """VMGEXIT with a page state request. MemoryError."""

    def request_firmware(self, message: bytes) -> bytes:
        """VMGEXIT with a guest request; what the host says that the firmware answered."""


class GuestKernel:
    """One guest's. `validated` are the guest pages that it has accepted: no page is ever accepted twice."""

    def __init__(self, memory: Nested, rmp: ReverseMap, shootdown: Callable[[], None], caller: Caller) -> None:
        self._memory, self._rmp, self._shootdown, self.caller = memory, rmp, shootdown, caller
        self.validated: set[int] = set()
        self.secrets_page = 0

    # ---- memory

    def boot(self, launched: int) -> BootParameters:
        """Read the boot parameters from measured memory; the firmware has validated the first `launched` pages."""
        self.validated.update(range(launched))
        for guest_page in range(launched):
            self._allow(guest_page)
        count = parameter_pages(self._read(0))
        self.secrets_page = launched - 2
        return BootParameters.parse(b"".join(self._read(number) for number in range(count)))

    def accept(self, guest_page: int) -> None:
        """Ask for one more page and validate it. MemoryFault, with which the guest ends itself; MemoryError."""
        if guest_page in self.validated:
            self._terminate(guest_page, "the guest has validated this page before and does not do it again")
        self._memory.request_private(guest_page)
        page = self._memory.nested_page(guest_page)
        try:
            done = pvalidate(self._rmp, page, self._supervisor, gpa=guest_page)
        except Refused as refused:
            self._terminate(guest_page, str(refused))
        if done.result is not Result.SUCCESS or done.carry:
            self._terminate(guest_page, f"PVALIDATE: {done.result.name}, CF={int(done.carry)}")
        self.validated.add(guest_page)
        self._allow(guest_page)

    def make_save_area(self, guest_page: int) -> None:
        """RMPADJUST: an accepted page becomes the save area of this guest's VMPL. Only for guests below VMPL 0."""
        self._adjust(guest_page, permissions=0, vmsa=True)
        self._shootdown()

    @property
    def _supervisor(self) -> Caller:
        return self.caller._replace(vmpl=0)

    def _allow(self, guest_page: int) -> None:
        """The SVSM gives a page to the VMPL of its guest."""
        if self.caller.vmpl:
            self._adjust(guest_page, permissions=ALL, vmsa=False)

    def _adjust(self, guest_page: int, *, permissions: int, vmsa: bool) -> None:
        """RMPADJUST for this guest's VMPL."""
        page, target = self._memory.nested_page(guest_page), self.caller.vmpl
        try:
            result = rmpadjust(
                self._rmp, page, self._supervisor, gpa=guest_page, target=target, permissions=permissions, vmsa=vmsa
            )
        except Refused as refused:
            self._terminate(guest_page, str(refused))
        if result is not Result.SUCCESS:
            self._terminate(guest_page, f"RMPADJUST: {result.name}")

    def _terminate(self, guest_page: int, reason: str) -> NoReturn:
        raise MemoryFault(guest_page * PAGE, Access.WRITE, Stage.TEE, f"the guest ends itself: {reason}")

    def _read(self, guest_page: int) -> bytes:
        return bytes(self._memory.guest_frame(guest_page, Access.READ))

    # ---- the firmware

    def report(self, report_data: bytes, vmpl: int | None = None) -> bytes:
        """An attestation report, 1184 bytes. UsageError if the firmware refuses, or the guest has given up its key."""
        asked = ReportRequest(report_data=report_data, vmpl=self.caller.vmpl if vmpl is None else vmpl, key_select=0)
        answer = self._ask(MessageType.REPORT_REQ, asked.serialize(), MessageType.REPORT_RSP)
        head = ReportResponseHeader.parse(answer.payload[: ReportResponseHeader.SIZE])
        if head.status != SUCCESS:
            raise UsageError(f"the firmware refuses a report: status {head.status:#x}; is the VMPL the guest's own?")
        return answer.payload[ReportResponseHeader.SIZE : ReportResponseHeader.SIZE + head.report_size]

    def derived_key(
        self,
        fields: FieldSelect,
        *,
        root: int = RootKey.VCEK,
        vmpl: int | None = None,
        guest_svn: int = 0,
        tcb_version: bytes = bytes(8),
    ) -> bytes:
        """A key of 32 bytes that depends on the selected fields. UsageError as for `report`."""
        request = KeyRequest(
            root_key_select=root, guest_field_select=int(fields), vmpl=self.caller.vmpl if vmpl is None else vmpl,
            guest_svn=guest_svn, tcb_version=tcb_version,
        )  # fmt: skip
        answer = self._ask(MessageType.KEY_REQ, request.serialize(), MessageType.KEY_RSP)
        response = KeyResponse.parse(answer.payload)
        if response.status != SUCCESS:
            raise UsageError(
                f"the firmware refuses a key: status {response.status:#x}; VMPL, SVN or TCB are above the guest's"
            )
        return response.key

    def _ask(self, kind: MessageType, payload: bytes, expected: MessageType) -> Message:
        """One question. If its answer is not the firmware's, the key is given up: its next nonce may be known."""
        number = self.caller.vmpl
        secrets = SecretsPage.parse(self._read(self.secrets_page))
        key = secrets.key(number)
        if key == bytes(KEY_SIZE):
            raise UsageError(f"the guest has given up VMPCK{number}: an answer was forged or lost; launch it anew")
        counted = getattr(secrets, f"sequence{number}")
        channel = Channel(key=key, number=number, sequence=counted)
        try:
            answer = channel.open(self._memory.request_firmware(channel.seal(kind, payload)))
            if answer.type is not expected:
                raise NotFresh("the answer is of another kind", expected=expected.name, actual=answer.type.name)
        except (CloisterError, ParseError):
            self._give_up(number)
            raise
        self._count(number, channel.sequence)
        return answer

    def _give_up(self, number: int) -> None:
        place = SecretsPage.OFFSETS[f"vmpck{number}"]
        self._memory.guest_frame(self.secrets_page, Access.WRITE)[place : place + KEY_SIZE] = bytes(KEY_SIZE)

    def _count(self, number: int, sequence: int) -> None:
        place = SEQUENCES + SEQUENCE_SIZE * number
        frame = self._memory.guest_frame(self.secrets_page, Access.WRITE)
        frame[place : place + SEQUENCE_SIZE] = sequence.to_bytes(SEQUENCE_SIZE, "little")
