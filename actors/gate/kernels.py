"""The compiled functions that a gate calls: made ready before the door says so, since a first call takes seconds."""

from actors.gate import answers
from tidegate import attribution, trees
from tidegate.features import kernel
from tidegate.policy import columns


def warm() -> None:
    """Compile each, or load it from its cache, by using it once."""
    for room in (kernel, trees, attribution, columns, answers):
        room.warm()
