"""What a cloud is told: a wrong field is named with what is expected, before anything is opened."""

from typing import Any

import pytest

from tests.unit.test_settings import UNITS, fields
from tidegate.cloudsettings import (
    ArchiveSettings,
    CloudSettings,
    FeaturesSettings,
    IngestSettings,
    ModelsSettings,
    checked,
)
from tidegate.errors import SettingsError

GOOD = {"data_dir": "x", "keys": "x/keys.json"}
MODELS = (CloudSettings, IngestSettings, ArchiveSettings, FeaturesSettings, ModelsSettings)
FIELDS = {name: info for model in MODELS for name, info in fields(model)}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"data_dir": ""}, "data_dir"),
        ({"log": {"partitions": 0}}, r"log\.partitions"),
        ({"log": {"kind": "files"}}, r"log\.kind"),
        ({"log": {"kind": "kafka"}}, r"log\.brokers: name them"),
        ({"log": {"brokers": "broker:9092"}}, r"log\.brokers: name them"),
        ({"log": {"client": "client.toml"}}, r"log\.client: means something only"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        checked(IngestSettings, GOOD | wrong, name="ingest")


def test_versions_of_the_archive_are_kept_for_as_long_as_a_decision_may_be_asked_about() -> None:
    with pytest.raises(SettingsError, match=r"archive: retention_days: .* 40"):
        checked(ArchiveSettings, GOOD | {"retention_days": 39}, name="archive")


def test_a_cloud_on_one_machine_needs_no_broker() -> None:
    assert CloudSettings().log.kind == "sqlite"


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_says_its_unit_and_why_its_default(path: str) -> None:
    said = FIELDS[path].description or ""

    assert UNITS.search(said)
    assert "because" in said
