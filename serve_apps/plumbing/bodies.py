"""Bodies of requests: of one type, of a bounded size, whole within a bounded time."""

import asyncio

from fastapi import Request

from tidegate.limits import BODY_S_MAX
from tidegate.problem import BodyTooLargeError, BodyTooSlowError, MediaTypeError


async def body_of(request: Request, media_type: str, bytes_max: int, s_max: float = BODY_S_MAX) -> bytes:
    """Return a request's body.

    Raises:
        MediaTypeError: it is of another type.
        BodyTooLargeError: it is larger than it may be.
        BodyTooSlowError: it didn't come.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
        raise MediaTypeError(f"content-type: send {media_type}")
    try:
        async with asyncio.timeout(s_max):
            return await _bounded(request, bytes_max)
    except TimeoutError as error:
        raise BodyTooSlowError(f"body: not whole after {s_max:.0f} s; send it at once") from error


async def _bounded(request: Request, bytes_max: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > bytes_max:
            raise BodyTooLargeError(f"body: more than {bytes_max} bytes; send less")
    return b"".join(parts)
