"""What schemathesis sends as a frame, a head or a part of a text: any bytes; `SCHEMATHESIS_HOOKS` names this module."""

import schemathesis

from tidegate.artifacts import ARTIFACT_MEDIA_TYPE
from tidegate.frames import MEDIA_TYPE
from tidegate.tide import HEAD_MEDIA_TYPE


@schemathesis.serializer(MEDIA_TYPE, HEAD_MEDIA_TYPE, ARTIFACT_MEDIA_TYPE)
def as_they_are(_context: schemathesis.SerializationContext, value: object) -> bytes:
    """Return a body's bytes."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")
