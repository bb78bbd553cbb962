"""The SEV-SNP firmware on the AMD security processor: its commands, with their checks and states.

AMD 56860, SEV Secure Nested Paging Firmware ABI. Pages are named by physical page number. Every command raises
CommandFailed where the real one returns a status other than SUCCESS; `history` keeps the last ones, for people.

    firmware.snp_init()
    firmware.gctx_create(context)            # a page that the host gave to the firmware by RMPUPDATE
    firmware.launch_start(context, policy=policy)
    firmware.activate(context, asid=1)
    firmware.launch_update(context, page, PageType.NORMAL)
    firmware.launch_finish(context)
    firmware.guest_request(context, request, response)
"""

import os
from typing import Final, NamedTuple

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.xts import XtsCipher
from cloister.emulate.paging import HOST_KEY
from cloister.emulate.snp import context as contexts
from cloister.emulate.snp.chip import MAJOR, MINOR, Chip, PlatformConfig
from cloister.emulate.snp.commands import (
    Command,
    CommandFailed,
    GuestState,
    PageType,
    PlatformInfo,
    Policy,
    Status,
)
from cloister.emulate.snp.context import FIRMWARE_KEY, with_changes
from cloister.emulate.snp.firmware_core import FIRMWARE_PAGE
from cloister.emulate.snp.firmware_paging import PagingCommands
from cloister.emulate.snp.id_block import Identity, check_identity
from cloister.emulate.snp.keys import tcb_within
from cloister.emulate.snp.launch import launch_content, measured
from cloister.emulate.snp.requests import answer
from cloister.emulate.snp.rmp import FIRST_VMPL, PageState, ReverseMap, RmpEntry
from cloister.errors import CloisterError
from cloister.evidence.snp import Product
from cloister.measure.image import PAGE

__all__ = ["Firmware", "GuestStatus"]

POLICY_RESERVED: Final = ((1 << 64) - 1) & ~((1 << 26) - 1)


class GuestStatus(NamedTuple):
    """What SNP_GUEST_STATUS tells the host."""

    state: GuestState
    asid: int
    policy: int


class Firmware(PagingCommands):
    """One security processor: all commands that are emulated."""

    def __init__(self, chip: Chip, rmp: ReverseMap, cache: FrameCache, controller: MemoryController) -> None:
        super().__init__(chip, rmp, cache, controller)
        self._owned: dict[int, int] = {}  # ASID -> context page
        self._unflushed: set[int] = set()

    # ---- platform

    def snp_init(self) -> None:
        """SNP_INIT: the table's own pages become the firmware's, and the firmware makes itself a memory key."""
        with self._command(Command.SNP_INIT):
            if self.running:
                raise CommandFailed(Command.SNP_INIT, Status.INVALID_PLATFORM_STATE, "SNP is on already")
            self.rmp.clear()
            for page in range(self.rmp.size):
                self.rmp[page] = FIRMWARE_PAGE
            self._controller.install(FIRMWARE_KEY, XtsCipher(self._controller.dram))
            self.running = True

    def snp_shutdown(self) -> None:
        """SNP_SHUTDOWN: every guest's key is gone."""
        with self._command(Command.SNP_SHUTDOWN):
            self._require_init(Command.SNP_SHUTDOWN)
            for asid in [*self._owned]:
                self._drop_key(asid)
            self._cache.drop_key(FIRMWARE_KEY)
            self._controller.remove(FIRMWARE_KEY)
            self._owned.clear()
            self.running = False

    def df_flush(self) -> None:
        """SNP_DF_FLUSH, after WBINVD on all cores: ASIDs that guests have left can be given to others."""
        with self._command(Command.SNP_DF_FLUSH):
            self._require_init(Command.SNP_DF_FLUSH)
            self._cache.write_back()
            self._unflushed.clear()

    def snp_config(self, config: PlatformConfig) -> None:
        """SNP_CONFIG: what reports say of the platform. Never a TCB version above the current one."""
        with self._command(Command.SNP_CONFIG):
            self._require_init(Command.SNP_CONFIG)
            tcb = config.reported_tcb
            if tcb is not None and not tcb_within(tcb, self.chip.tcb, self.chip.product):
                raise CommandFailed(
                    Command.SNP_CONFIG, Status.INVALID_PARAM, f"TCB {tcb.hex()} is above the current one"
                )
            self.chip.config = config

    def vlek_load(self, provider: str) -> None:
        """SNP_VLEK_LOAD: a key that AMD gave a cloud provider. How it is wrapped for the chip is left out here."""
        with self._command(Command.SNP_VLEK_LOAD, provider):
            self._require_init(Command.SNP_VLEK_LOAD)
            self.chip.provider = provider

    # ---- a guest's life

    def gctx_create(self, page: int) -> None:
        """SNP_GCTX_CREATE: a firmware page becomes a guest's context."""
        command = Command.SNP_GCTX_CREATE
        with self._command(command, f"context on page {page:#x}"):
            self._require_target(command, page)
            contexts.store(self._cache, page, contexts.new_context(self.chip.tcb))
            self.rmp[page] = RmpEntry(assigned=True, immutable=True, vmsa=True)

    def launch_start(self, page: int, *, policy: int, gosvw: bytes = bytes(16)) -> None:
        """SNP_LAUNCH_START: the guest gets its policy and its keys."""
        command = Command.SNP_LAUNCH_START
        with self._command(command, f"policy {policy:#x}"):
            guest = self._guest(command, page, GuestState.INIT)
            self._check_policy(policy)
            size = 64 if policy & Policy.MEM_AES_256_XTS else 32
            keys = {f"vmpck{number}": os.urandom(32) for number in range(4)}
            started = with_changes(
                guest, state=GuestState.LAUNCH, policy=policy, gosvw=gosvw, vek=os.urandom(size).ljust(64, b"\0"),
                vmrk=os.urandom(32), swap_key=os.urandom(32), **keys,
            )  # fmt: skip
            contexts.store(self._cache, page, started)

    def activate(self, page: int, *, asid: int) -> None:
        """SNP_ACTIVATE: the memory controller gets the guest's key, for its ASID."""
        command = Command.SNP_ACTIVATE
        with self._command(command, f"ASID {asid}"):
            guest = self._guest(command, page, GuestState.LAUNCH, GuestState.RUNNING)
            if not 1 <= asid <= self.asids:
                raise CommandFailed(command, Status.INVALID_ASID, f"this processor has ASIDs 1 to {self.asids}")
            if asid in self._owned:
                raise CommandFailed(command, Status.ASID_OWNED, f"ASID {asid} is another guest's")
            if guest.asid:
                raise CommandFailed(command, Status.ACTIVE, f"the guest has ASID {guest.asid} already")
            if asid in self._unflushed:
                raise CommandFailed(command, Status.DFFLUSH_REQUIRED, f"ASID {asid} was used: WBINVD, SNP_DF_FLUSH")
            bits = 256 if guest.policy & Policy.MEM_AES_256_XTS else 128
            self._controller.install(asid, XtsCipher(self._controller.dram, bits=bits, key=guest.vek[: bits // 4]))
            self._owned[asid] = page
            contexts.store(self._cache, page, with_changes(guest, asid=asid))

    def launch_update(self, context: int, page: int, kind: PageType) -> None:
        """SNP_LAUNCH_UPDATE: a pre-guest page is measured, encrypted in place and validated."""
        command = Command.SNP_LAUNCH_UPDATE
        entry = self.rmp.covering(page)
        with self._command(command, f"{kind.name} page at {entry.gpa * PAGE:#x}"):
            guest = self._guest(command, context, GuestState.LAUNCH)
            self._require_state(command, page, PageState.PRE_GUEST)
            self._require_owner(command, page, guest)
            content = launch_content(self.chip, guest, self._cache, page, kind)
            digest = measured(guest.digest, kind, entry.gpa * PAGE, content)
            self._cache.put(page, guest.asid, content)
            self.rmp[page] = entry._replace(
                immutable=False, validated=True, vmsa=kind is PageType.VMSA, permissions=FIRST_VMPL
            )
            contexts.store(self._cache, context, with_changes(guest, digest=digest))

    def launch_finish(self, page: int, *, host_data: bytes = bytes(32), identity: Identity | None = None) -> None:
        """SNP_LAUNCH_FINISH: the measurement is final, and is what the owner signed if an ID block is given."""
        command = Command.SNP_LAUNCH_FINISH
        with self._command(command, "with an ID block" if identity else ""):
            guest = self._guest(command, page, GuestState.LAUNCH)
            named: dict[str, object] = {}
            if identity is not None:
                check_identity(identity, digest=guest.digest, policy=guest.policy)
                block, auth = identity.block, identity.auth
                named = {
                    "family_id": block.family_id, "image_id": block.image_id, "guest_svn": block.guest_svn,
                    "id_key_digest": auth.id_key.digest, "author_key": int(identity.author),
                    "author_key_digest": auth.author_key.digest if identity.author else bytes(48),
                }  # fmt: skip
            contexts.store(
                self._cache, page, with_changes(guest, state=GuestState.RUNNING, host_data=host_data, **named)
            )

    def guest_status(self, page: int) -> GuestStatus:
        """SNP_GUEST_STATUS."""
        with self._command(Command.SNP_GUEST_STATUS):
            guest = self._guest(Command.SNP_GUEST_STATUS, page, *GuestState)
            return GuestStatus(GuestState(guest.state), guest.asid, guest.policy)

    def launch_digest(self, page: int) -> bytes:
        """The measurement so far. No command: real firmware tells it in reports only, which the guest asks for."""
        return contexts.load(self._cache, page).digest

    def decommission(self, page: int) -> None:
        """SNP_DECOMMISSION: the guest's key and context are gone; the page is the firmware's until reclaimed."""
        command = Command.SNP_DECOMMISSION
        with self._command(command):
            guest = self._guest(command, page, *GuestState)
            if guest.asid:
                self._drop_key(guest.asid)
                del self._owned[guest.asid]
                self._unflushed.add(guest.asid)
            self._cache.put(page, FIRMWARE_KEY, bytes(PAGE))
            self.rmp[page] = FIRMWARE_PAGE

    # ---- a running guest

    def guest_request(self, page: int, request: int, response: int) -> None:
        """SNP_GUEST_REQUEST: the sealed message on page `request` is answered on page `response`, a firmware page."""
        command = Command.SNP_GUEST_REQUEST
        with self._command(command):
            guest = self._guest(command, page, GuestState.RUNNING)
            self._require_target(command, response)
            message = self._read(request, HOST_KEY)
            try:
                sealed, after = answer(self.chip, guest, message)
            except CloisterError as error:
                raise CommandFailed(command, Status.INVALID_PARAM, str(error)) from error
            contexts.store(self._cache, page, after)
            self._answer(response, sealed)

    # ---- checks

    def _check_policy(self, policy: int) -> None:
        """What a policy demands and this platform cannot give is a POLICY_FAILURE (56860, SNP_LAUNCH_START)."""
        info, wanted = self.chip.info, Policy(policy & ((1 << 26) - (1 << 16)))
        refused = (
            (not policy & Policy.ONE or bool(policy & POLICY_RESERVED), "bit 17 must be 1, bits above 25 zero"),
            ((policy >> 8 & 0xFF, policy & 0xFF) > (MAJOR, MINOR), f"the firmware's ABI is {MAJOR}.{MINOR}"),
            (Policy.SMT not in wanted and PlatformInfo.SMT_EN in info, "SMT is on, the policy does not allow it"),
            (
                Policy.CIPHERTEXT_HIDING_DRAM in wanted and PlatformInfo.CIPHERTEXT_HIDING_DRAM_EN not in info,
                "ciphertext hiding is off",
            ),
            (
                Policy.MEM_AES_256_XTS in wanted and self.chip.product is Product.MILAN,
                "Milan has no AES-256-XTS",
            ),
            (Policy.RAPL_DIS in wanted and PlatformInfo.RAPL_DIS not in info, "RAPL is on"),
        )
        for bad, reason in refused:
            if bad:
                raise CommandFailed(Command.SNP_LAUNCH_START, Status.POLICY_FAILURE, f"policy {policy:#x}: {reason}")

    def _drop_key(self, asid: int) -> None:
        self._cache.drop_key(asid)
        self._controller.remove(asid)
