"""Every configuration file loads through the code that reads it in life."""

from pathlib import Path

import pytest

from tidegate.cloudsettings import CloudSettings, checked
from tidegate.errors import SettingsError
from tidegate.settings import merge, parse, site_settings

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CLOUDS = ("cloud.toml", "kafka.toml")


def _layer(name: str) -> dict[str, object]:
    return parse(name, (CONFIGS / "edge" / name).read_text())


def test_the_demo_site_loads() -> None:
    assert site_settings([_layer("site.toml")], names="site.toml").door.port == 8410


def test_the_production_layer_wins_and_keeps_what_it_does_not_say() -> None:
    settings = site_settings([_layer("site.toml"), _layer("production.toml")], names="both")

    assert settings.profile == "production"
    assert settings.door.port == 8410


def test_a_sandbox_lives_in_the_machines_time_beside_the_demo() -> None:
    settings = site_settings([_layer("site.toml"), _layer("sandbox.toml")], names="both")

    assert (settings.profile, settings.clock.source, settings.door.port) == ("sandbox", "system", 8490)


def test_the_clouds_load_and_say_what_differs() -> None:
    one, many = (checked(CloudSettings, parse(n, (CONFIGS / "cloud" / n).read_text()), name=n) for n in CLOUDS)

    assert one == CloudSettings()
    assert (many.log.kind, many.log.replicas, many.archive) == ("kafka", 3, one.archive)


def test_every_toml_file_is_toml() -> None:
    assert [parse(path.name, path.read_text()) for path in CONFIGS.rglob("*.toml")]


def test_a_wrong_field_is_named_with_its_file() -> None:
    with pytest.raises(SettingsError, match=r"site\.toml: door\.port: .*65535"):
        site_settings([merge([_layer("site.toml"), {"door": {"port": 70000}}])], names="site.toml")


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(SettingsError, match="dor: Extra inputs"):
        site_settings([_layer("site.toml"), {"dor": {}}], names="site.toml")


def test_a_clock_that_follows_events_is_refused_in_production() -> None:
    with pytest.raises(SettingsError, match=r"clock\.source"):
        site_settings([_layer("site.toml"), {"profile": "production", "clock": {"source": "events"}}], names="x")
