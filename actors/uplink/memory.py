"""The twins in memory of the small file and of a site's texts, for tests and simulation."""

from collections.abc import Collection


class MemoryFile:
    """What was saved last."""

    def __init__(self) -> None:
        self.data = b""

    def save(self, data: bytes) -> None:
        """Keep it."""
        self.data = data


class MemoryTexts:
    """Texts by what records call them."""

    def __init__(self) -> None:
        self.of: dict[str, bytes] = {}

    def names(self) -> Collection[str]:
        """Return what records call them."""
        return tuple(self.of)

    def read(self, name: str) -> bytes | None:
        """Return a text."""
        return self.of.get(name)
