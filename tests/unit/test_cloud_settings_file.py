"""The file of a cloud's settings: read, checked before anything starts, told where it is wrong."""

from pathlib import Path

import pytest

from edge_nodes.cloud import APPLICATIONS, cloud_settings, configuration
from tidegate.cloudsettings import (
    ArchiveSettings,
    CloudSettings,
    FeaturesSettings,
    IngestSettings,
    ModelsSettings,
    checked,
)
from tidegate.errors import SettingsError

REDIS = '[features]\nredis = "redis://r:1/0"\nredis_password = "p"\n'
SIGNING = '[models]\nsigning_keys = "signing"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "cloud.toml"
    file.write_text(text)
    return file


def test_without_a_file_it_is_a_cloud_on_one_machine() -> None:
    assert cloud_settings(None) == CloudSettings()


def test_files_that_it_names_are_found_beside_it(tmp_path: Path) -> None:
    file = written(tmp_path, '[log]\nkind = "kafka"\nbrokers = "a:1"\nclient = "client.toml"\n')

    assert cloud_settings(file).log.client == str(tmp_path / "client.toml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[log]\nkind = 7\n", r"cloud\.toml: log\.kind"),
        ("[ingest]\ncommitters = 0\n", r"cloud\.toml: ingest\.committers"),
        ("[ledger]\n", r"cloud\.toml: ledger: Extra inputs"),
        ("[log\n", r"cloud\.toml: "),
        ('[features]\nredis_password = "p"\n', r"features\.redis_password: means something only"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=told):
        cloud_settings(written(tmp_path, text))


def test_a_file_that_isnt_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        cloud_settings(tmp_path / "nowhere.toml")


def test_each_application_is_given_what_it_takes_and_a_path_of_its_own(tmp_path: Path) -> None:
    settings = cloud_settings(
        written(tmp_path, "[ingest]\ncommitters = 3\n[archive]\nmerge_files = 7\n" + REDIS + SIGNING)
    )

    told = configuration(tmp_path, 8500, tmp_path / "server.pem", "here", settings)["applications"]

    ingest, archive, features, models = ({one["name"]: one["args"] for one in told}[name] for name in APPLICATIONS)
    assert checked(IngestSettings, ingest, name="ingest").committers == 3
    assert checked(ArchiveSettings, archive, name="archive").merge_files == 7
    kept = checked(FeaturesSettings, features, name="features")
    assert (kept.redis, kept.redis_password) == ("redis://r:1/0", str(tmp_path / "p"))
    assert [one["route_prefix"] for one in told] == ["/", "/archive", "/v1/features", "/v1/models"]
    assert checked(ModelsSettings, models, name="models").signing_keys == str(tmp_path / "signing")
