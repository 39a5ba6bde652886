"""The small file's twin in memory, for tests and simulation."""


class MemoryFile:
    """What was saved last."""

    def __init__(self) -> None:
        self.data = b""

    def save(self, data: bytes) -> None:
        """Keep it."""
        self.data = data
