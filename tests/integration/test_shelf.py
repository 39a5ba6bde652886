"""A start clears its shelf: what may be gone back to, and what the journal names, stays."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.scorer.disk import PosixFolder
from actors.scorer.shelf import Shelf
from tidegate.bundle import MANIFEST
from tidegate.keys import KeyFile, dump_keys
from tidegate.limits import BUNDLES_KEPT

CLEARED_S = 20


def _wait(done: Callable[[], bool]) -> None:
    for _ in range(CLEARED_S * 50):
        if done():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it never came about")


def test_a_start_removes_the_bundles_that_nobody_needs(
    tmp_path: Path, bundle_files: dict[str, bytes], open_gate: Callable[[dict[str, Any], bytes], int]
) -> None:
    (tmp_path / "site").mkdir()
    shelf = Shelf(folder=PosixFolder(tmp_path / "site" / "bundles"))
    trained_us = json.loads(bundle_files[MANIFEST])["trained_at_us"]
    every = []
    for older in range(BUNDLES_KEPT + 3):
        manifest = json.loads(bundle_files[MANIFEST]) | {"trained_at_us": trained_us - older}
        every.append(shelf.put({**bundle_files, MANIFEST: json.dumps(manifest).encode()}))
    shelf.activate(every[-1])

    open_gate({"data_dir": str(tmp_path / "site"), "machine_mark": str(tmp_path / "mark")}, dump_keys(KeyFile(keys=())))

    _wait(lambda: len(shelf.ids()) == BUNDLES_KEPT)
    assert set(shelf.ids()) == {every[-1], every[0], every[1]}
