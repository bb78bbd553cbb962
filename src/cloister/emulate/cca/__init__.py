"""The emulated Arm CCA machine: four worlds, a granule protection table, and a monitor that keeps realms."""

__all__: list[str] = []
