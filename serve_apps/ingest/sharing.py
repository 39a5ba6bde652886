"""Who gives way in the quarantine: what every store of it decides alike."""

from collections.abc import Mapping
from typing import NamedTuple

from serve_apps.ingest.ports import Refusal


class Share(NamedTuple):
    """How many cases a site has in quarantine, and how many bytes of frames."""

    cases: int
    size: int


def crowding(shares: Mapping[str, Share], cases_max: int, bytes_max: int) -> str | None:
    """Return the site that has most of what there is too much of; None: nothing is beyond its bound."""
    if sum(share.cases for share in shares.values()) > cases_max:
        return max(shares, key=lambda site: (shares[site].cases, site))
    if sum(share.size for share in shares.values()) > bytes_max:
        return max(shares, key=lambda site: (shares[site].size, site))
    return None


def joined(before: Refusal, later: Refusal) -> Refusal:
    """Return two of one name and reason as one."""
    return before._replace(times=before.times + later.times, last_us=later.last_us)
