"""An x86-64 machine with Intel SGX: one program, with its shim, in one enclave.

    machine = SgxMachine(Shape(), terminal, Keystore(), integrity="mee")
    machine.launch(image)                       # ECREATE, EADD, EEXTEND, EINIT
    machine.start(["program"], {})              # EENTER
    machine.run()
    machine.evidence(report_data)               # EREPORT, and a quote of version 3
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Literal

from cloister.emulate.engine_unsafe import Event
from cloister.emulate.host import Cause, HostView, PhysicalMemory
from cloister.emulate.machine import ILLEGAL_INSTRUCTION, SEGMENTATION_FAULT, Ending, Machine, Shape
from cloister.emulate.memory.cipher import MemoryCipher
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.memory.tree import TreeCipher
from cloister.emulate.memory.xts import XtsCipher
from cloister.emulate.paging import HOST_KEY, NEEDED, Access, MemoryFault, Refused, Stage, Translation
from cloister.emulate.sgx import enclu, keys
from cloister.emulate.sgx.debug import edbgrd
from cloister.emulate.sgx.driver import Driver
from cloister.emulate.sgx.enter import Registers, aex, eenter, eexit, eresume
from cloister.emulate.sgx.memory import EPC_KEY, CachedMemory
from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.processor import Fuses, Processor
from cloister.emulate.sgx.quoting import QuotingEnclave
from cloister.emulate.sgx.structures import Attribute, Attributes, KeyName, KeyPolicy, KeyRequest
from cloister.emulate.sgx.swap import Refusal
from cloister.emulate.sgx.within import EnclaveMemory
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.intel import IntelManufacturer
from cloister.emulate.vendors.intel_platform import CLIENT, SERVER
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.sigstruct import Product, sign_enclave, signing_key
from cloister.errors import LaunchError, UsageError
from cloister.evidence.sigstruct import Sigstruct
from cloister.measure.enclave import ELRANGE_END, EnclaveLayout
from cloister.measure.image import PAGE, Architecture, Image, Permission
from cloister.model import Digest, Tee

__all__ = ["EPC_PAGES", "SgxMachine"]
