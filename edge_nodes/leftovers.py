"""The temporary folder of a run, and those of runs that were killed, which the next run removes.

Whoever uses a folder holds a lock on a file in it, which the kernel takes back from the dead, too. A process id would
tell less: it may be somebody else's by now, or another container's.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FOLDER_PREFIX: Final = "tg-"
"""Short: Ray puts sockets below it, whose paths may have 107 bytes."""
_OWNER: Final = "owner"


@contextlib.contextmanager
def run_folder(root: Path) -> Iterator[Path]:
    """Make a folder for as long as the block lasts, after removing what dead runs left in `root`."""
    remove_leftovers(root)
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, dir=root, ignore_cleanup_errors=True) as name:
        handle = os.open(Path(name) / _OWNER, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(handle)


def remove_leftovers(root: Path) -> None:
    """Remove the folders in `root` whose owner is dead; what is another user's, or has no owner yet, stays."""
    for folder in root.glob(f"{FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):  # another's, or gone meanwhile: somebody removed it, too
            handle = os.open(folder / _OWNER, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(handle)
