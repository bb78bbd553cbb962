"""Cloister: run a program where even the machine's administrator cannot read its secrets.

`cloister.launch` starts programs in the software enclave; `cloister.observe` dumps, scans and traces
what an administrator can see; `cloister.app` wires the two into controlled experiments.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
