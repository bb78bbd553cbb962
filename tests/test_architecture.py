"""House rules that can be checked by reading the sources. Import direction is import-linter's (pyproject.toml)."""

import ast
import importlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister import cli

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "cloister"
PYTHON = sorted(path for top in ("src", "tests", "benchmarks", "runtime") for path in (ROOT / top).rglob("*.py"))
SOURCES = sorted(PACKAGE.rglob("*.py"))
C_SOURCES = sorted(path for pattern in ("*.c", "*.h", "*.S") for path in (ROOT / "runtime").rglob(pattern))

FILE_LINES = 400
LONG_FILES: dict[str, str] = {}
"""Files that may be longer, each with its reason."""

FUNCTION_LINES = 50
LONG_FUNCTIONS: dict[str, str] = {}
"""`path:function` that may be longer, each with its reason."""

UNSAFE_MODULES = {"ctypes", "mmap"}
EMPTY_WORDS = re.compile(
    r"(^|_)(utils?|helpers?|managers?|handlers?|misc|common)(_|$)|(Manager|Helper|Utils?|Handler)$"
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imported(tree: ast.AST) -> Iterator[str]:
    """The top-level names of every module imported, anywhere in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 10
    assert PACKAGE / "errors.py" in SOURCES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_unsafe_modules_stay_in_unsafe_files(path: Path) -> None:
    used = UNSAFE_MODULES & set(imported(tree_of(path)))
    assert not used or path.stem.endswith("_unsafe"), f"{used} belong in a file named *_unsafe.py"


@pytest.mark.parametrize("path", [*PYTHON, *C_SOURCES], ids=name_of)
def test_files_are_short(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    if name_of(path) in LONG_FILES:
        assert lines > FILE_LINES, "this exemption is no longer needed"
    else:
        assert lines <= FILE_LINES, "split it, or give the reason in LONG_FILES"


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    for function in functions(tree_of(path)):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        key = f"{name_of(path)}:{function.name}"
        if key in LONG_FUNCTIONS:
            assert length > FUNCTION_LINES, f"{key}: this exemption is no longer needed"
        else:
            assert length <= FUNCTION_LINES, f"{key}: split it, or give the reason in LONG_FUNCTIONS"


def test_exemptions_name_what_exists() -> None:
    assert {ROOT / name for name in LONG_FILES} <= {*PYTHON, *C_SOURCES}
    assert {ROOT / key.split(":")[0] for key in LONG_FUNCTIONS} <= set(PYTHON)
    assert all(len(reason) > 20 for reason in (*LONG_FILES.values(), *LONG_FUNCTIONS.values()))


@pytest.mark.parametrize("path", [*SOURCES, *C_SOURCES], ids=name_of)
def test_names_say_something(path: Path) -> None:
    classes = (
        [node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]
        if path.suffix == ".py"
        else []
    )
    empty = [name for name in (path.stem, *classes) if EMPTY_WORDS.search(name)]
    assert not empty, f"name it after its one job: {empty}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_shell(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            assert not any(word.arg == "shell" for word in node.keywords), (
                f"line {node.lineno}: pass a list, not a shell line"
            )
            assert ast.unparse(node.func) not in {"os.system", "os.popen"}, (
                f"line {node.lineno}: use subprocess with a list"
            )


def test_every_command_has_its_module() -> None:
    modules = {path.stem for path in (PACKAGE / "cli").glob("*.py")} - {"__init__"}
    assert {name for name in modules if not name.startswith("_")} == {name.replace("-", "_") for name in cli.COMMANDS}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_its_two_functions(name: str) -> None:
    module = importlib.import_module(cli.module_name(name))
    assert {"build_parser", "run"} <= set(module.__all__)
    assert callable(module.build_parser)
    assert callable(module.run)


@pytest.mark.parametrize("path", [path for path in SOURCES if path.stem != "__main__"], ids=name_of)
def test_all_is_declared_and_true(path: Path) -> None:
    """A package's `__all__` is exactly what it defines or re-exports, constants aside; a module's names what it has."""
    tree = tree_of(path)
    declared = declared_all(tree)
    public = {name for name in defined(tree, package_of(path)) if not name.startswith("_")}
    if path.stem == "__init__":
        constants = {name for name in public - set(declared) if name.isupper()}
        assert set(declared) == (public - constants) | ({"__version__"} if path.parent == PACKAGE else set())
    else:
        assert set(declared) <= public
    assert declared == sorted(set(declared), key=isort_style)


def declared_all(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def defined(tree: ast.Module, package: str) -> Iterator[str]:
    """Names that the module offers: definitions, assignments, and imports from its own package that it does not use."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {ast.unparse(node).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    typing_only = (
        node.body for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    )
    for node in [*tree.body, *itertools.chain(*typing_only)]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{package}."):
            offered = {alias.asname or alias.name for alias in node.names}
            yield from offered & set(declared_all(tree)) | offered - used


def package_of(path: Path) -> str:
    return ".".join(path.parent.relative_to(PACKAGE.parent).parts)


def isort_style(name: str) -> tuple[int, list[tuple[int, str]]]:
    """Constants, then classes, then the rest, numbers by value: the order that ruff's RUF022 asks for."""
    parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), parts
