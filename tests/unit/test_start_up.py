"""`cloister run` starts programs: what it imports on the way delays each of them."""

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "cloister"
ENCLAVE = ["__init__.py", "_abi.py", "command.py", "runtime_file.py", "strict.py"]
"""Of launch/; its other files are about virtual machines."""
ON_THE_WAY = [
    "__init__.py",
    "__main__.py",
    "errors.py",
    "cli/__init__.py",
    "cli/run.py",
    *(f"launch/{one}" for one in ENCLAVE),
]
ALLOWED = {"argparse", "collections", "fcntl", "importlib", "os", "signal", "stat", "sys"}
"""dataclasses (with inspect), pathlib (with urllib) and typing took 12 of the 30 ms that `cloister run` once cost."""


def test_little_is_imported_before_the_program_starts() -> None:
    files = [PACKAGE / name for name in ON_THE_WAY]
    assert all(file.exists() for file in files)
    assert {name for file in files for name in standard_imports(file)} <= ALLOWED


def standard_imports(file: Path) -> set[str]:
    """The standard library's top-level modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found & sys.stdlib_module_names


def test_no_other_file_of_ours_is_imported_from_launch() -> None:
    for file in (PACKAGE / name for name in ON_THE_WAY):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cloister.launch."):
                assert f"{(node.module or '').rpartition('.')[2]}.py" in ENCLAVE
