"""The lab's report: one self-contained HTML file, rendered from a `LabRecord` and nothing else."""

from cloister.observe.report.html import render
from cloister.observe.report.record import ArmRecord, LabRecord, Verdict, as_json

__all__ = ["ArmRecord", "LabRecord", "Verdict", "as_json", "render"]
