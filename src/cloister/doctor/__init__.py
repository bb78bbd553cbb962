"""The doctor: what a machine offers for confidential computing, measured by trying it, and what would fix the rest."""

from cloister.doctor.check import Check, Command, Fix, Group, NoFix, Status
from cloister.doctor.examine import Declared, Diagnosis, Observed, Reader, as_json, examine
from cloister.doctor.machine import Machine
from cloister.doctor.render import render

__all__ = [
    "Check",
    "Command",
    "Declared",
    "Diagnosis",
    "Fix",
    "Group",
    "Machine",
    "NoFix",
    "Observed",
    "Reader",
    "Status",
    "as_json",
    "examine",
    "render",
]
