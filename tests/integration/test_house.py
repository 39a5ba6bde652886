"""What `tidegate up` would start: which sites, and what is wrong with them before anything starts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_nodes.house import CloudPlace, house
from edge_nodes.node import free_port
from edge_nodes.up import page, sites_of
from tidegate.errors import SettingsError
from tidegate.settings import SiteSettings, merge, site_settings


def _site(folder: Path, **said: Any) -> SiteSettings:
    own = {"profile": "demo", "data_dir": str(folder / "site-1"), "machine_mark": str(folder / "mark")}
    return site_settings([merge([own, {"door": {"port": 0}}, said])], names="test")


def test_without_a_configuration_two_sites_are_started_each_with_a_place_of_its_own() -> None:
    sites = sites_of(None, None)

    assert [(one.site, one.door.port, one.data_dir) for one in sites] == [
        ("site-1", 8410, "var/site-1"),
        ("site-2", 8420, "var/site-2"),
    ]
    assert {one.machine_mark for one in sites} == {"var/machine-mark"}


def test_a_configuration_is_one_site_and_each_file_beside_it_another(tmp_path: Path) -> None:
    first, other = tmp_path / "first.toml", tmp_path / "other.toml"
    first.write_text('profile = "demo"\nsite = "a"\ndata_dir = "a"\nmachine_mark = "m"\n')
    other.write_text('site = "b"\ndata_dir = "b"\n')

    assert [one.site for one in sites_of([first], None)] == ["a"]
    assert [one.site for one in sites_of([first], [other])] == ["a", "b"]
    other.write_text('site = "b"\nprofile = "production"\n')
    with pytest.raises(SettingsError, match="which only a demo may decide"):
        sites_of([first], [other])


def test_the_address_of_the_page_names_all_sites_behind_the_sign_that_browsers_keep_to_themselves() -> None:
    sites: list[Any] = [SimpleNamespace(url=f"http://127.0.0.1:84{n}0", key=f"tgk_{n}") for n in (1, 2)]

    assert page(sites) == "http://127.0.0.1:8410/#key=tgk_1&beside=http://127.0.0.1:8420&beside-key=tgk_2"
    assert page(sites[:1]) == "http://127.0.0.1:8410/#key=tgk_1"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "site: two sites have the same"),
        ({"site": "site-2"}, "data_dir: two sites have the same"),
        ({"site": "site-2", "data_dir": "elsewhere", "door": {"via": "serve"}}, "a cluster has one site"),
        (
            {"site": "site-2", "data_dir": "elsewhere", "uplink": {"url": "https://cloud.example", "key": "k"}},
            "site-2 sends to https://cloud.example; start it with --no-cloud",
        ),
    ],
)
def test_sites_that_would_get_into_each_others_way_or_have_a_cloud_elsewhere_are_refused(
    tmp_path: Path, said: dict[str, Any], told: str
) -> None:
    place = CloudPlace(tmp_path / "cloud", free_port(), tmp_path / "run")
    heard: list[str] = []

    with (
        pytest.raises(SettingsError, match=told),
        house([_site(tmp_path), _site(tmp_path, **said)], place, heard.append),
    ):
        pass

    assert heard == []
    assert not (tmp_path / "run").exists()


def test_one_port_for_two_doors_is_refused(tmp_path: Path) -> None:
    door = {"door": {"port": free_port()}}
    other = _site(tmp_path, site="site-2", data_dir=str(tmp_path / "site-2"), **door)

    with (
        pytest.raises(SettingsError, match=r"door\.port: two sites"),
        house([_site(tmp_path, **door), other], None, print),
    ):
        pass
