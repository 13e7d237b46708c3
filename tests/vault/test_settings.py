from pathlib import Path

import pytest

from vault.errors import SettingError
from vault.settings import load_settings, mask_passwords, write_environment


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


# -- wrong ones -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["FACEWARDEN_WORKERS", "FACEWARDEN_WEB_PORT", "FACEWARDEN_MATCHING_FACES_PER_DAY"])
@pytest.mark.parametrize("value", ["1.2.3", ".", "-", "--1", "1e", "1e9999", "e5", "0x10", "nan", "1 2", "9" * 5000])
def test_what_is_no_number_is_never_taken_for_one(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name) as caught:
        load_settings(home=tmp_path, environ={name: value})
    assert caught.value.mend


@pytest.mark.parametrize("value", ["-1", "0.5", "70000"])
def test_a_number_that_may_not_be_is_said_by_its_variable_whatever_the_file_holds(tmp_path: Path, value: str) -> None:
    (tmp_path / "facewarden.toml").write_text("[web]\nport = 9000\n")
    with pytest.raises(SettingError, match=r"^FACEWARDEN_WEB_PORT: ") as caught:
        load_settings(home=tmp_path, environ={"FACEWARDEN_WEB_PORT": value})
    assert caught.value.mend


def test_a_section_that_is_no_table_is_named_also_when_the_environment_fills_it(tmp_path: Path) -> None:
    (tmp_path / "facewarden.toml").write_text("workers = 1\nweb = 5\n")
    with pytest.raises(SettingError, match=r"facewarden\.toml:2: web: 5 is not a table"):
        load_settings(home=tmp_path, environ={"FACEWARDEN_WEB_PORT": "9000"})


@pytest.mark.parametrize(
    "text",
    [
        "matching.faces_per_day = " + "9" * 400,
        "workers = " + "9" * 5000,
        "x = " + "[" * 5000,
        "key_file = '~nosuchuser/k'",
    ],
)
def test_a_file_that_breaks_its_reader_is_a_wrong_setting(tmp_path: Path, text: str) -> None:
    (tmp_path / "facewarden.toml").write_text(text)
    with pytest.raises(SettingError, match=r"facewarden\.toml"):
        load_settings(home=tmp_path, environ={})


def test_a_file_that_is_no_utf8_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "facewarden.toml").write_bytes(b"workers = 1 # \xff")
    with pytest.raises(SettingError, match="cannot read"):
        load_settings(home=tmp_path, environ={})


@pytest.mark.parametrize("home", ["", "/", "~nosuchuser/x", "/tmp/a\nb", "/tmp/a\udcff"])
def test_a_home_that_can_be_none_is_a_wrong_setting(home: str) -> None:
    with pytest.raises(SettingError) as caught:
        load_settings(home=home, environ={})
    assert "--home" in caught.value.mend or "--home" in caught.value.message


def test_an_empty_config_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--config is empty"):
        load_settings(home=tmp_path, config="", environ={})


def test_a_link_to_the_state_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk/state")
    settings = load_settings(home=tmp_path / "link", environ={})
    assert settings == load_settings(home=tmp_path / "disk/state", environ={})


def test_paths_are_absolute_since_children_run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"FACEWARDEN_CRAWL_HASH_LISTS": "a:b/c", "FACEWARDEN_FACES_MODELS": "m"}
    settings = load_settings(home="state", environ=environ)
    assert settings.home == tmp_path / "state"
    assert settings.crawl.hash_lists == (tmp_path / "a", tmp_path / "b/c")
    assert settings.faces.models == tmp_path / "m"


def test_a_hash_list_that_no_child_could_be_told_of_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "facewarden.toml").write_text('[crawl]\nhash_lists = ["/a:b"]\n')
    with pytest.raises(SettingError, match="hash_lists"):
        load_settings(home=tmp_path, environ={})


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("DATABASE_URL", "postgresql://u:hunter2@h:port/d"),
        ("DATABASE_URL", "postgresql://u:hunter2@h:99999/d"),
        ("DATABASE_URL", "postgresql://u:x@hunter2@h/d"),  # libpq would look up hunter2@h and say so
        ("DATABASE_URL", "postgresql://u:hunter2/x@h/d"),  # and here take hunter2 for a port
        ("DATABASE_URL", "postgresql://u:%zz@hunter2/d"),
        ("DATABASE_URL", "postgresql://h/d?nonsense=hunter2"),
        ("DATABASE_URL", "postgres//u:hunter2@h/d"),
        ("DATABASE_URL", "host=h password='hunter2"),
        ("DATABASE_URL", "hunter2"),
        ("REDIS_URL", "foo://:hunter2@x"),
        ("REDIS_URL", "redis://:hunter2"),
        ("REDIS_URL", "redis://:hunter2#@h:6379/0"),
        ("REDIS_URL", "redis://h:0/0"),
        ("REDIS_URL", "redis://h:6379/hunter2"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis+socket://"),
        ("REDIS_URL", "redis://[hunter2"),
    ],
)
def test_a_wrong_address_is_refused_and_never_repeated(tmp_path: Path, name: str, address: str) -> None:
    with pytest.raises(SettingError, match=name) as caught:
        load_settings(home=tmp_path, environ={name: address})
    assert "hunter2" not in f"{caught.value} {caught.value.message} {caught.value.mend}"


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("DATABASE_URL", "postgresql://u:p%40w@h:5432/d?sslmode=require"),
        ("DATABASE_URL", "postgres://u@a,b:5433/d"),
        ("DATABASE_URL", "postgresql://u@/d?host=/run/a%20b&port=5433"),
        ("DATABASE_URL", "host=h port=5432 dbname=d password='a b'"),
        ("REDIS_URL", "redis://:p@h:6379/0"),
        ("REDIS_URL", "rediss://u:p@h/15?ssl_cert_reqs=required"),
        ("REDIS_URL", "redis+socket:///run/redis.sock?virtual_host=0"),
    ],
)
def test_a_right_address_is_taken_as_it_is(tmp_path: Path, name: str, address: str) -> None:
    servers = load_settings(home=tmp_path, environ={name: address}).servers
    assert address in (servers.database_url, servers.redis_url)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:hunter2@h:5432/d", "redis://:hunter2@h", "postgresql://u:a@hunter2@h/d",
        "postgresql://h/d?user=u&password=hunter2&sslmode=require", "host=h password='hunter2 \\' hunter2' dbname=d",
        "host=h password = hunter2", "rediss://h/0?PASSWORD=hunter2", "postgresql://h/d?sslpassword=hunter2",
    ],
)  # fmt: skip
def test_passwords_are_masked_and_the_rest_can_be_read(text: str) -> None:
    shown = mask_passwords(text)
    assert "hunter2" not in shown
    assert "***" in shown
    assert "h" in shown.replace("***", "")


def test_an_address_without_a_password_is_shown_as_it_is() -> None:
    for text in ("postgresql://u@/d?host=/run", "redis+socket:///run/valkey.sock?virtual_host=0", "redis://h:6379/0"):
        assert mask_passwords(text) == text


def test_a_value_of_the_command_line_that_may_not_be_is_a_wrong_setting(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, environ={})
    with pytest.raises(SettingError, match="workers"):
        settings.replace("", workers=-1)
    with pytest.raises(SettingError, match=r"web\.port"):
        settings.replace("web", port=0)


def test_whom_a_crawl_may_not_reach_follows_from_the_settings(tmp_path: Path) -> None:
    text = """[web]
host = "0.0.0.0"
port = 8700
public_url = "https://Facewarden.Example.org:8443/"
[crawl]
own_addresses = "203.0.113.7, [2001:DB8::7] us.example."
[servers]
database_url = "postgresql://u:p@127.0.0.1:5433/x"
"""
    (tmp_path / "facewarden.toml").write_text(text)
    settings = load_settings(home=tmp_path, environ={})
    assert settings.own_hosts == ("2001:db8::7", "203.0.113.7", "facewarden.example.org", "us.example")
    assert settings.own_ports == (5433, 8700)
    assert load_settings(home=tmp_path, environ=write_environment(settings)).own_hosts == settings.own_hosts
    assert load_settings(home=tmp_path / "none", environ={}).own_hosts == (), "loopback is refused anyway"


@pytest.mark.parametrize("wrong", ["http://a.example", "a.example:443", "a/b", "a@b", "\\u00e4.example"])
def test_an_address_of_ours_is_a_name_or_an_address(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "facewarden.toml").write_text(f'[crawl]\nown_addresses = "{wrong}"\n')
    with pytest.raises(SettingError, match="own_addresses"):
        load_settings(home=tmp_path, environ={})
