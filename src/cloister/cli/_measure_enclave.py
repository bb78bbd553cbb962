"""`cloister measure --with`: images of SGX frameworks; and Keystone's three images."""

import argparse
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from cloister.cli._arguments import read_input
from cloister.cli._measure_options import FRAMEWORKS, given
from cloister.errors import UsageError
from cloister.measure.components import Measured, content
from cloister.measure.enclave_build import MeasuredEnclave
from cloister.measure.gramine import gramine_enclave, read_gramine_manifest
from cloister.measure.keystone import enclave_hash
from cloister.measure.open_enclave import ego_enclave, oe_enclave, oe_product, properties_of
from cloister.measure.sgx_sdk import sdk_enclave
from cloister.measure.sgxs import parse_sgxs
from cloister.measure.sigstruct import Product, product_of
from cloister.model import Tee

__all__ = ["EnclaveImage", "measure_enclave", "measure_keystone", "read_enclave"]

LARGEST: Final = 4 << 30
SCONE: Final = (
    "SCONE does not publish how its enclaves are laid out: let its runtime say it (SCONE_HASH=1 ./program), and give "
    "that to `cloister policy init --measurement sgx:mrenclave=...`"
)
Write = Callable[[bytes], object] | None


class EnclaveImage(NamedTuple):
    """A measured image, and what its framework would put into its SIGSTRUCT; None if that is nobody's rule."""

    enclave: MeasuredEnclave
    product: Product | None


def measure_enclave(args: argparse.Namespace) -> tuple[Measured, list[str]]:
    """What the image measures, and what its own SIGSTRUCT says otherwise: nothing if there is none, or it agrees."""
    allowed = {"--with", "--sgxs", *NEEDS.get(args.framework, ())}
    if extra := [option for option in given(args) if option not in allowed]:
        raise UsageError(f"{extra[0]} is not for --with {args.framework}")
    found = read_enclave(args)
    measured = Measured(
        machine=args.tee, tee=Tee.SGX, claims={"mrenclave": found.enclave.mrenclave},
        components={"framework": args.framework, **found.enclave.components},
    )  # fmt: skip
    signed = found.enclave.signed
    if signed is None or signed.enclave_hash == found.enclave.mrenclave.value:
        return measured, []
    doubt = (
        f"{args.program}: its own SIGSTRUCT is for {signed.enclave_hash.hex()}: it was changed after it was signed, or"
    )
    return measured, [f"{doubt} is for another runtime or framework"]


def read_enclave(args: argparse.Namespace) -> EnclaveImage:
    """Measure the image that the command line names; with --sgxs, write the stream."""
    if args.framework == "scone":
        raise UsageError(SCONE)
    if args.framework not in READERS:
        raise UsageError(f"--with {args.framework}: there are {', '.join(FRAMEWORKS)}")
    if args.program is None:
        raise UsageError(f"no image given: cloister measure --tee sgx --with {args.framework} IMAGE")
    for option in NEEDS.get(args.framework, ()):
        if option not in OPTIONAL and getattr(args, option.removeprefix("--")) is None:
            raise UsageError(f"--with {args.framework} needs {option}: it is part of the measurement")
    with ExitStack() as stack:
        return READERS[args.framework](args, _stream(args.sgxs, stack))


def _stream(name: str | None, stack: ExitStack) -> Write:
    if name is None:
        return None
    try:
        return stack.enter_context(Path(name).open("wb")).write
    except OSError as error:
        raise UsageError(f"cannot write {name}: {error.strerror}") from error


def _gramine(args: argparse.Namespace, write: Write) -> EnclaveImage:
    manifest = read_gramine_manifest(read_input(args.program, LARGEST), args.program)
    return EnclaveImage(gramine_enclave(manifest, read_input(args.loader, LARGEST), write=write), manifest.product)


def _ego(args: argparse.Namespace, write: Write) -> EnclaveImage:
    payload = read_input(args.program, LARGEST)
    found = ego_enclave(read_input(args.runtime, LARGEST), payload, write=write)
    return EnclaveImage(found, oe_product(properties_of(payload)))


def _open_enclave(args: argparse.Namespace, write: Write) -> EnclaveImage:
    image = read_input(args.program, LARGEST)
    module = None if args.module is None else read_input(args.module, LARGEST)
    return EnclaveImage(oe_enclave(image, module=module, write=write), oe_product(properties_of(image)))


def _sdk(args: argparse.Namespace, write: Write) -> EnclaveImage:
    found = sdk_enclave(read_input(args.program, LARGEST), write=write)
    return EnclaveImage(found, None if found.signed is None else product_of(found.signed))


def _sgxs(args: argparse.Namespace, write: Write) -> EnclaveImage:
    if write is not None:
        raise UsageError("--sgxs writes a stream; the image is one already")
    data = read_input(args.program, LARGEST)
    stream = parse_sgxs(data, canonical=not args.any_order)
    components = {
        "stream": content(data), "enclave size": str(stream.size), "SSA frame pages": str(stream.ssa_frame_pages),
        "pages": str(stream.pages), "threads": str(stream.threads), "chunks not measured": str(stream.unmeasured),
    }  # fmt: skip
    return EnclaveImage(
        MeasuredEnclave(mrenclave=stream.mrenclave, size=stream.size, pages=stream.pages, components=components), None
    )


READERS: Final[Mapping[str, Callable[[argparse.Namespace, Write], EnclaveImage]]] = {
    "gramine": _gramine, "ego": _ego, "oe": _open_enclave, "sdk": _sdk, "occlum": _sdk, "sgxs": _sgxs,
}  # fmt: skip
NEEDS: Final = {"gramine": ("--loader",), "ego": ("--runtime",), "oe": ("--module",), "sgxs": ("--any-order",)}
OPTIONAL: Final = frozenset({"--module", "--any-order"})


def measure_keystone(args: argparse.Namespace) -> Measured:
    """Loader, runtime and application, as the host lays them out."""
    if extra := [option for option in given(args) if option not in {"--loader", "--runtime"}]:
        raise UsageError(f"{extra[0]} is not for --tee keystone")
    if args.program is None or args.loader is None or args.runtime is None:
        raise UsageError("a Keystone enclave has three parts: --loader FILE --runtime FILE APPLICATION")
    parts = {
        name: read_input(path, LARGEST)
        for name, path in (("loader", args.loader), ("runtime", args.runtime), ("application", args.program))
    }
    return Measured(
        machine=args.tee, tee=Tee.KEYSTONE, claims={"enclave_hash": enclave_hash(**parts)},
        components={name: content(data) for name, data in parts.items()},
    )  # fmt: skip
