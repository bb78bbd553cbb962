"""Build hook: compiles the freestanding runtime and puts it into the wheel."""

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RuntimeBuildHook(BuildHookInterface[Any]):
    """Runs `make -C runtime` and ships its one output, `cloister/_runtime/cloister-enclave`."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the runtime; `version` is hatchling's build variant, unused here."""
        del version
        root = Path(self.root)
        subprocess.run(["make", "-s", "-C", str(root / "runtime")], check=True)
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
        build_data["artifacts"] = ["src/cloister/_runtime/cloister-enclave"]
