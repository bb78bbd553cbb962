"""Sessions have several services, a configuration is of one program: which of them is meant."""

from cloister.errors import PolicyError
from cloister.frameworks.table import Sheet

__all__ = ["chosen_service"]


def chosen_service(sheet: Sheet, wanted: str | None) -> int | None:
    """The number of the service called `wanted`, or of the only one; None for a session without any."""
    names = [sheet.text("services", number, "name") or "" for number in range(sheet.count("services"))]
    for number in range(len(names)):
        sheet.release("services", number, "name")
    if wanted is None and len(names) > 1:
        raise sheet.document.error(
            ("services",), f"there are several services, and a configuration is of one: choose {' or '.join(names)}"
        )
    if wanted is not None and wanted not in names:
        raise PolicyError(
            f"{sheet.place('services')}: there is no service {wanted}; there is {', '.join(names) or 'none'}"
        )
    if not names:
        return None
    return 0 if wanted is None else names.index(wanted)
