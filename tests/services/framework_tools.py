"""Doubles of the tools of Gramine, EGo, Occlum and SCONE: they take what the documentation says, and run natively.

Each tool is this file under the tool's name. It appends what it was asked to $FRAMEWORK_LOG, a JSON line each, checks
what the real one checks, writes the files that the real one writes, and starts the program without any enclave.
"""

import hashlib
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import yaml

__all__ = ["NAMES", "install"]

NAMES = ("gramine-sgx-sign", "gramine-sgx", "gramine-direct", "ego", "occlum", "copy_bom", "scone")
SIGNED = b"\nsigned by the double of ego\n"
KEPT = ("SCONE_", "OE_SIMULATION")
STATUS = ".__occlum_status"


def install(folder: Path, names: Sequence[str] = NAMES) -> None:
    """Put the tools into a directory for PATH."""
    folder.mkdir()
    for name in names:
        tool = folder / name
        tool.write_text(f"#!{sys.executable}\n{Path(__file__).read_text()}")
        tool.chmod(0o755)


def fail(reason: str, status: int = 1) -> NoReturn:
    """As the tools do: some words, and an exit code."""
    sys.stdout.write(f"{reason}\n")
    sys.exit(status)


def options(words: list[str], *names: str) -> dict[str, str]:
    """`--name value` pairs, no others."""
    found = dict(zip(words[::2], words[1::2], strict=True))
    if set(found) - set(names):
        fail(f"unknown options {set(found) - set(names)}", 2)
    return found


def gramine_sgx_sign(words: list[str]) -> None:
    """Documentation/manpages/gramine-sgx-sign.rst."""
    given = options(words, "--manifest", "--output", "--sigfile", "--key")
    text = Path(given["--manifest"]).read_text()
    Path(given["--key"]).read_bytes()
    for one in tomllib.loads(text)["sgx"].get("trusted_files", []):
        uri, wanted = (one, None) if isinstance(one, str) else (one["uri"], one.get("sha256"))
        digest = hashlib.sha256(Path(uri.removeprefix("file:")).read_bytes()).hexdigest()
        if wanted not in {None, digest}:
            fail(f"{uri} is another file")
    Path(given["--output"]).write_text(text)
    Path(given["--sigfile"]).write_bytes(bytes(1808))
    sys.stdout.write("Measurement:\n    0000\n")


def gramine(words: list[str], suffix: str) -> NoReturn:
    """tools/gramine.in, and the loader behind it."""
    manifest = Path(f"{words[0]}{suffix}")
    if not manifest.exists() or (suffix.endswith("sgx") and not Path(f"{words[0]}.sig").exists()):
        fail(f"Invalid application path specified ({manifest} does not exist).", 2)
    found = tomllib.loads(manifest.read_text())
    arguments = found["loader"].get("argv", [])
    if found["loader"].get("insecure__use_cmdline_argv"):
        arguments = words
    os.execv(found["libos"]["entrypoint"], arguments)


def ego(words: list[str]) -> None:
    """ego/cmd/ego/main.go, ego/cli/sign.go."""
    verb, target = words[0], Path(words[1])
    if verb == "sign":
        found = json.loads(target.read_text())
        program, key = (Path(os.path.normpath(target.parent / found[name])) for name in ("exe", "key"))
        for one in found.get("files", []):
            Path(one["source"]).read_bytes()
        if not key.exists():
            key.write_text("a new key")
        program.write_bytes(program.read_bytes() + SIGNED)
        return
    if not target.read_bytes().endswith(SIGNED):
        fail("ERROR: failed to load the binary\nPlease sign the binary with 'ego sign'")
    os.execv(target, words[1:])


def occlum(words: list[str]) -> None:
    """docs/readthedocs/docs/source/occlum_cmds.md."""
    if words == ["init"]:
        if Path(STATUS).exists():
            fail("Error: the current directory is an Occlum instance already")
        Path("image").mkdir()
        Path("Occlum.json").write_text("{}")
        Path(STATUS).write_text("initialized")
    elif words[0] == "build":
        given = options(words[1:], "--sgx-mode", "--sign-key")
        json.loads(Path("Occlum.json").read_text())
        if given["--sgx-mode"] not in {"HW", "SIM"}:
            fail("Error: unknown mode")
        if "--sign-key" in given:
            Path(given["--sign-key"]).read_bytes()
        Path(STATUS).write_text("built")
    else:
        allowed = json.loads(Path("Occlum.json").read_text())["entry_points"]
        inside = Path("image") / words[1].lstrip("/")
        if Path(STATUS).read_text() != "built" or words[1] not in allowed or not inside.exists():
            fail(f"{words[1]} is no entry point of this instance")
        os.execv(inside, words[1:])


def copy_bom(words: list[str]) -> None:
    """tools/copy_bom: files, with their hashes; `includes` are found in --include-dir, which is not there."""
    given = options(words, "-f", "--root", "--include-dir")
    found = yaml.safe_load(Path(given["-f"]).read_text())
    if found["includes"] != ["base.yaml"] or given["--include-dir"] != "/opt/occlum/etc/template":
        fail("no loader in the image")
    for target in found["targets"]:
        place = Path(given["--root"]) / target["target"].lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        for one in (file for copy in target["copy"] for file in copy["files"]):
            named = {"name": one} if isinstance(one, str) else one
            content = Path(named["name"]).read_bytes()
            if named.get("hash") not in {None, hashlib.sha256(content).hexdigest()}:
                fail(f"{named['name']} has another hash")
            shutil.copy(named["name"], place / named.get("rename", Path(named["name"]).name))


def scone(words: list[str]) -> None:
    """`scone session create FILE`."""
    if words[:2] != ["session", "create"]:
        fail("unknown command", 2)
    session = json.dumps(yaml.safe_load(Path(words[2]).read_text()))
    sys.stdout.write(f"{hashlib.sha256(session.encode()).hexdigest()}\n")


TOOLS: dict[str, Callable[[list[str]], None]] = {
    "gramine-sgx-sign": gramine_sgx_sign,
    "gramine-sgx": lambda words: gramine(words, ".manifest.sgx"),
    "gramine-direct": lambda words: gramine(words, ".manifest"),
    "ego": ego,
    "occlum": occlum,
    "copy_bom": copy_bom,
    "scone": scone,
}


def main() -> None:
    """What is done under the tool's name."""
    name, words = Path(sys.argv[0]).name, sys.argv[1:]
    kept = {one: value for one, value in os.environ.items() if one.startswith(KEPT)}
    with Path(os.environ["FRAMEWORK_LOG"]).open("a") as log:
        log.write(json.dumps({"words": [name, *words], "directory": str(Path.cwd()), "environment": kept}) + "\n")
    if words[0] == os.environ.get("FRAMEWORK_FAILS") or name == os.environ.get("FRAMEWORK_FAILS"):
        fail("it fails because it was told to", 3)
    try:
        TOOLS[name](words)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
