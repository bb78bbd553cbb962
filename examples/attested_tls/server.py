"""An attested web server: uvicorn behind attested TLS, with evidence of an emulated machine that was launched here.

    python3 server.py --tee sgx --port 8443 --trust trust ./app

What a client needs to believe the emulated manufacturer is written into the directory `trust`. On hardware only the
provider differs: a function that is given 64 bytes of report data and returns the TEE's evidence with them.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn

from cloister.emulate.catalogue import kind_of
from cloister.emulate.inside import Request, launched, load_program
from cloister.emulate.machine import Machine
from cloister.emulate.terminal import sealed_terminal
from cloister.tls import Identity, evidence_of, server_context
from cloister.tls.uvicorn_server import EXTENSION, settings


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
    """Tell whoever asks what was found about him."""
    del receive
    if scope["type"] == "http":
        peer = scope["extensions"][EXTENSION]["peer"]
        text = "hello, whoever you are\n" if peer is None else f"hello, attested {peer.verdict.tee} program\n"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": text.encode()})


def machine_with(program: str, tee: str, trust: Path) -> Machine:
    """A machine that has launched and measured the program; what vouches for it stands in `trust` afterwards."""
    machine = launched(
        kind_of(tee), Request(tee=tee), load_program(program), sealed_terminal(lambda _: b"", lambda _: None)
    )
    vouching = machine.vouching(datetime.now(UTC))
    trust.mkdir(exist_ok=True)
    for name, content in {"roots.pem": vouching.roots, **vouching.collateral}.items():
        (trust / name).write_bytes(content)
    return machine


def main() -> None:
    """Launch, then serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tee", default="sgx")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--trust", type=Path, default=Path("trust"))
    parser.add_argument("program")
    args = parser.parse_args()
    machine = machine_with(args.program, args.tee, args.trust)
    context = server_context(Identity(evidence_of(machine)))
    uvicorn.run(application, host="127.0.0.1", port=args.port, log_level="warning", lifespan="off", **settings(context))


if __name__ == "__main__":
    main()
