"""SEAMCALL functions that make, measure and take down a TD: TDH.MNG.*, TDH.MR.*, TDH.PHYMEM.*.

Intel TDX Module 1.5 base specification, chapters "TD life cycle management" and "Measurement and attestation"; ABI
specification for each function's checks.
"""

import hashlib
from typing import Final

from cloister.emulate.tdx.calls import CallFailed, Operand, Seamcall, Status
from cloister.emulate.tdx.core import Core
from cloister.emulate.tdx.keyed_memory import GLOBAL_HKID, PRIVATE_HKIDS
from cloister.emulate.tdx.pamt import NOBODY, PageType
from cloister.emulate.tdx.params import TdParams
from cloister.emulate.tdx.sept import SeptState
from cloister.emulate.tdx.td import MOST_TDCX, Lifecycle, OpState, Td, VcpuState
from cloister.errors import ParseError
from cloister.measure.image import PAGE
from cloister.measure.tdx import TdInfo

__all__ = ["CHUNK", "Building"]

CHUNK: Final = 256
"""Bytes that one TDH.MR.EXTEND measures."""

BLOCK: Final = 128
SUM: Final = 48


class Building(Core):
    """From TDH.MNG.CREATE to TDH.MR.FINALIZE, and from TDH.VP.FLUSH to the last page given back."""

    def mng_create(self, page: int, hkid: int) -> None:
        """TDH.MNG.CREATE: a page becomes the root of a TD, which gets a private key id."""
        call = Seamcall.MNG_CREATE
        if hkid not in PRIVATE_HKIDS:
            reason = f"key id {hkid} is not private: those are {PRIVATE_HKIDS.start} to {PRIVATE_HKIDS.stop - 1}"
            raise CallFailed(call, Status.OPERAND_INVALID, reason, Operand.RDX)
        if hkid not in self.free_hkids:
            raise CallFailed(call, Status.HKID_NOT_FREE, f"key id {hkid} is in use")
        self.pamt.take(call, page, PageType.TDR, NOBODY, Operand.RCX)
        self.free_hkids.remove(hkid)
        self.memory.put(page, GLOBAL_HKID)
        self.tds[page] = Td(page, hkid)

    def mng_key_config(self, tdr: int) -> None:
        """TDH.MNG.KEY.CONFIG: the memory controller makes an ephemeral key for the TD. Nobody ever sees it."""
        call = Seamcall.MNG_KEY_CONFIG
        td = self.td(call, tdr, Operand.RCX)
        if td.lifecycle is Lifecycle.KEYS_CONFIGURED:
            raise CallFailed(call, Status.KEY_CONFIGURED, "the TD has its key already")
        if td.lifecycle is not Lifecycle.HKID_ASSIGNED:
            raise CallFailed(call, Status.LIFECYCLE_STATE_INCORRECT, f"the TD is in {td.lifecycle.name}")
        self.memory.install(td.hkid)
        td.lifecycle = Lifecycle.KEYS_CONFIGURED

    def mng_addcx(self, tdr: int, page: int) -> None:
        """TDH.MNG.ADDCX: one more page for TDCS."""
        call = Seamcall.MNG_ADDCX
        td = self.configured(call, tdr)
        if td.op_state is not OpState.UNINITIALIZED:
            raise CallFailed(call, Status.OP_STATE_INCORRECT, f"the TD is {td.op_state.name}")
        if len(td.tdcx) == MOST_TDCX:
            raise CallFailed(call, Status.TDCX_NUM_INCORRECT, f"TDCS has {MOST_TDCX} pages, the most that it can")
        self.pamt.take(call, page, PageType.TDCX, tdr, Operand.RCX)
        self.memory.put(page, td.hkid)
        td.tdcx.append(page)

    def mng_init(self, tdr: int, params: bytes) -> None:
        """TDH.MNG.INIT: what the TD is to be, TD_PARAMS of 1,024 bytes. Its measurement begins."""
        call = Seamcall.MNG_INIT
        td = self.working(call, tdr, OpState.UNINITIALIZED, operand=Operand.RCX)
        try:
            wanted = TdParams.parse(params)
        except ParseError as error:
            raise CallFailed(call, Status.OPERAND_INVALID, str(error), Operand.RDX) from error
        wanted.check()
        info = TdInfo(
            attributes=wanted.attributes.to_bytes(8, "little"), xfam=wanted.xfam.to_bytes(8, "little"),
            mrconfigid=wanted.mrconfigid, mrowner=wanted.mrowner, mrownerconfig=wanted.mrownerconfig,
            **dict.fromkeys(("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "servtd_hash"), bytes(SUM)),
        )  # fmt: skip
        self.memory.write(td.tdcx[0], td.hkid, 0, info.serialize())
        td.params, td.digest, td.op_state = wanted, hashlib.sha384(), OpState.INITIALIZED

    def mr_extend(self, tdr: int, gpa: int) -> None:
        """TDH.MR.EXTEND: MRTD covers the 256 bytes at this private address, as they are in the TD's memory."""
        call = Seamcall.MR_EXTEND
        td = self.working(call, tdr, OpState.INITIALIZED)
        entry = td.sept.leaf(call, self.private(call, gpa, CHUNK), SeptState.MAPPED)
        chunk = self.memory.read(entry.page, td.hkid, gpa % PAGE, CHUNK)
        td.digest.update(self.measured_block(call, gpa) + chunk)

    @staticmethod
    def measured_block(call: Seamcall, gpa: int) -> bytes:
        """The 128 bytes that stand in MRTD for a call: its name without TDH, padded to 16, and an address."""
        name = call.title.removeprefix("TDH.").encode().ljust(16, b"\0")
        return (name + gpa.to_bytes(8, "little")).ljust(BLOCK, b"\0")

    def mr_finalize(self, tdr: int) -> None:
        """TDH.MR.FINALIZE: MRTD stands, no memory is added with content any more, the TD may run."""
        call = Seamcall.MR_FINALIZE
        td = self.working(call, tdr, OpState.INITIALIZED, operand=Operand.RCX)
        if not any(vcpu.state is VcpuState.READY for vcpu in td.vcpus):
            raise CallFailed(call, Status.NO_VCPUS, "TDH.VP.INIT comes first, for one processor at least")
        td.set_info(self.memory, mrtd=td.digest.digest())
        td.op_state = OpState.RUNNABLE

    # ---- the end

    def vp_flush(self, tdvpr: int) -> None:
        """TDH.VP.FLUSH: a processor's state leaves the die."""
        vcpu = self.vcpu(Seamcall.VP_FLUSH, tdvpr)
        if vcpu.state is VcpuState.ACTIVE:
            raise CallFailed(Seamcall.VP_FLUSH, Status.VCPU_STATE_INCORRECT, "the processor is running")
        vcpu.associated = False

    def mng_vpflushdone(self, tdr: int) -> None:
        """TDH.MNG.VPFLUSHDONE: the TD cannot be entered any more."""
        call = Seamcall.MNG_VPFLUSHDONE
        td = self.td(call, tdr, Operand.RCX)
        if td.lifecycle not in {Lifecycle.KEYS_CONFIGURED, Lifecycle.HKID_ASSIGNED}:
            raise CallFailed(call, Status.LIFECYCLE_STATE_INCORRECT, f"the TD is in {td.lifecycle.name}")
        if any(vcpu.associated for vcpu in td.vcpus):
            raise CallFailed(call, Status.FLUSHVP_NOT_DONE, "TDH.VP.FLUSH comes first, for each processor")
        td.lifecycle, td.written_back = Lifecycle.BLOCKED, False

    def phymem_cache_wb(self) -> None:
        """TDH.PHYMEM.CACHE.WB: caches hold nothing of TDs that are blocked."""
        self.memory.write_back()
        for td in self.tds.values():
            td.written_back |= td.lifecycle is Lifecycle.BLOCKED

    def mng_key_freeid(self, tdr: int) -> None:
        """TDH.MNG.KEY.FREEID: the TD's key is gone, its key id is free for another."""
        call = Seamcall.MNG_KEY_FREEID
        td = self.td(call, tdr, Operand.RCX)
        if td.lifecycle is not Lifecycle.BLOCKED:
            raise CallFailed(call, Status.LIFECYCLE_STATE_INCORRECT, f"the TD is in {td.lifecycle.name}")
        if not td.written_back:
            raise CallFailed(call, Status.WBCACHE_NOT_COMPLETE, "TDH.PHYMEM.CACHE.WB comes first")
        self.memory.remove(td.hkid)
        self.free_hkids.append(td.hkid)
        td.lifecycle = Lifecycle.TEARDOWN

    def phymem_page_reclaim(self, page: int) -> None:
        """TDH.PHYMEM.PAGE.RECLAIM: a page of a TD whose key is gone is the host's again; the TDR comes last."""
        call = Seamcall.PHYMEM_PAGE_RECLAIM
        if self.pamt.type_of(page) is PageType.NDA:
            raise CallFailed(call, Status.PAGE_METADATA_INCORRECT, f"page {page:#x} is the host's", Operand.RCX)
        owner = self.pamt.entry(page).owner
        td = self.tds[page if owner == NOBODY else owner]
        if td.lifecycle is not Lifecycle.TEARDOWN:
            raise CallFailed(call, Status.LIFECYCLE_STATE_INCORRECT, f"its TD is in {td.lifecycle.name}")
        if owner == NOBODY:
            self._require_childless(page)
            self.memory.evict(page)
            del self.tds[page]
        self.vcpus.pop(page, None)
        self.pamt.free(page)

    def _require_childless(self, tdr: int) -> None:
        children = len(self.pamt.owned(tdr))
        if children:
            reason = f"{children} pages of the TD are not reclaimed yet"
            raise CallFailed(Seamcall.PHYMEM_PAGE_RECLAIM, Status.TD_ASSOCIATED_PAGES_EXIST, reason, Operand.RCX)
