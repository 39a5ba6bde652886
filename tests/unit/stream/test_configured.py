"""What a cloud's log is told beside its settings: from a private file, by librdkafka's own names."""

from pathlib import Path

import pytest

from serve_apps.plumbing.stream.configured import client_options
from tidegate.errors import SettingsError


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "client.toml"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_dotted_names_are_those_of_the_client(tmp_path: Path) -> None:
    file = written(tmp_path, 'security.protocol = "SASL_SSL"\nsasl.mechanism = "PLAIN"\n"socket.timeout.ms" = 5000\n')

    assert client_options(file) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "socket.timeout.ms": 5000,
    }


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        ("a = 1", 0o644, "others may read it"),
        ("a = ", 0o600, "Invalid value"),
        ("a.b = [1]", 0o600, r"a\.b: a text, a number"),
    ],
)
def test_a_file_that_can_t_be_used_is_told(text: str, mode: int, told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=told):
        client_options(written(tmp_path, text, mode))


def test_a_file_that_isnt_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        client_options(tmp_path / "nowhere.toml")
