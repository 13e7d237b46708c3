from pathlib import Path

import pytest

from vault.errors import SettingError
from vault.settings import load_settings, write_environment


def test_the_defaults_need_nothing(tmp_path: Path) -> None:
    settings = load_settings(environ={"HOME": str(tmp_path)})
    assert settings.home == tmp_path / ".local/share/facewarden"
    assert settings.key_file == tmp_path / ".local/share/facewarden.key"
    assert settings.servers.database_url == ""


def test_the_key_file_lies_beside_the_state_folder_and_never_in_it(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "state", environ={})
    assert settings.home not in settings.key_file.parents


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "facewarden.toml").write_text("[web]\nport = 9000\n[matching]\nfaces_per_day = 5\n")
    environ = {"FACEWARDEN_WEB_PORT": "9100", "DATABASE_URL": "postgresql://x/y"}
    settings = load_settings(home=tmp_path, environ=environ)
    assert settings.web.port == 9100
    assert settings.matching.faces_per_day == 5.0
    assert settings.servers.database_url == "postgresql://x/y"


def test_a_child_reads_the_same_settings_from_its_environment(tmp_path: Path) -> None:
    first = load_settings(
        home=tmp_path,
        environ={"FACEWARDEN_MATCHING_FALSE_ALERTS_PER_DAY": "0.25", "FACEWARDEN_FACES_COMMERCIAL": "true",
                 "FACEWARDEN_CRAWL_HASH_LISTS": "/a:/b", "REDIS_URL": "redis://r/0"},
    )  # fmt: skip
    assert load_settings(environ=write_environment(first)) == first


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[web]\nprot = 1", 2, ("web.prot", "did you mean 'port'")),
        ("workers = 'two'", 1, ("workers", "a whole number")),
        ("[web]\nhost = 'x'\nport = 70000", 3, ("web.port", "between 1 and 65535")),
        ("[matching]\nfalse_alerts_per_day = -1", 2, ("false_alerts_per_day", "above 0")),
        ("[faces]\ncommercial = 1", 2, ("faces.commercial", "true or false")),
        ("[web\nport = 1", 1, ("not valid TOML",)),
        ("home = '/x'", None, ("home", "--home")),
        ("nonsense = 1", 1, ("nonsense", "unknown field")),
    ],
)
def test_a_bad_setting_names_line_field_and_mend(
    tmp_path: Path, text: str, line: int | None, words: tuple[str]
) -> None:
    (tmp_path / "facewarden.toml").write_text(text)
    with pytest.raises(SettingError) as caught:
        load_settings(home=tmp_path, environ={})
    shown = f"{caught.value.message} {caught.value.mend}"
    assert line is None or f"facewarden.toml:{line}:" in shown
    for word in words:
        assert word in shown


@pytest.mark.parametrize(("name", "value"), [("FACEWARDEN_WEB_PORT", "x"), ("FACEWARDEN_FACES_COMMERCIAL", "yes")])
def test_a_bad_variable_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name):
        load_settings(home=tmp_path, environ={name: value})


def test_a_settings_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no such settings file"):
        load_settings(home=tmp_path, config=tmp_path / "none.toml", environ={})
