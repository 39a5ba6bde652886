"""Whatever bytes come, the decoder of frames refuses them with its one error, or gives back what was journaled."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.mangled import examples, tried
from tidegate.frames import REASONS, records


def test_what_is_not_mangled_is_taken() -> None:
    for frame, run in examples():
        assert records(frame).canonical == run


@given(st.integers(0, 1 << 62))
@settings(max_examples=1_000)
def test_a_mangled_frame_is_refused_with_a_reason_or_is_what_was_journaled(case: int) -> None:
    assert tried(case) in {*REASONS, "same"}
