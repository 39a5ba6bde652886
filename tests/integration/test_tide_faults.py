"""A house of real processes, all of them killed at once under load: what was accepted is archived, once.

`python -m tests.bench.tide_faults` does more of it, with a broker and with full disks.
"""

import pytest

from tests.bench.tide_faults import run


@pytest.mark.slow
def test_what_was_accepted_while_everything_was_killed_is_archived_once(bundle_files: dict[str, bytes]) -> None:
    told = run("sqlite", "all killed", bundle_files)["all killed"]

    assert told["accepted"] > 50
    assert told["settled"]
    assert (told["lost"], told["twice"]) == (0, 0)
    assert told["journaled"] == told["committed"] == told["archived"]
