"""Which addresses the way to the cloud takes."""

import pytest

from actors.uplink.https import HttpsCarrier
from tidegate.errors import SettingsError


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cloud.example",
        "ftp://cloud.example",
        "https://",
        "https://cloud.example:99999",
        "https://c:x",
        "https://[::1",
    ],
)
def test_what_is_no_address_is_said_at_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match=r"uplink\.url: .* is no address"):
        HttpsCarrier(url)
