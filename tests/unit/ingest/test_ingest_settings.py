"""What ingest is told: a wrong argument is named with what is expected, before anything is opened."""

from typing import Any

import pytest

from serve_apps.ingest.settings import ingest_settings
from tidegate.errors import SettingsError

GOOD = {"data_dir": "x", "keys": "x/keys.json"}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"data_dir": ""}, "data_dir"),
        ({"partitions": 0}, "partitions"),
        ({"log": "files"}, "log"),
        ({"log": "kafka"}, "name the brokers"),
        ({"kafka": "broker:9092"}, "name the brokers"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        ingest_settings(GOOD | wrong)


def test_a_cloud_on_one_machine_needs_no_broker() -> None:
    assert ingest_settings(GOOD).log == "sqlite"
