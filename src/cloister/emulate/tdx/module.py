"""The TDX module: all of its host-side functions, in one object for each machine.

    module = TdxModule(KeyedMemory(controller, cache), pages)
    module.mng_create(tdr, hkid)          # TDH.MNG.CREATE
    module.mng_key_config(tdr)            # TDH.MNG.KEY.CONFIG
    ...                                   # CallFailed with the module's status code if the host may not

Functions stand by what they are about: `building`, `private_memory`, `processors`, `debugging`; `tdcall` has those of
the trust domains. Which are emulated: `calls.Seamcall`, `calls.Tdcall`.
"""

from cloister.emulate.tdx.debugging import Debugging

__all__ = ["TdxModule"]


class TdxModule(Debugging):
    """The module of one machine: `TdxModule(memory, pages)`, see `core.Core`."""
