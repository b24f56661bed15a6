"""`.env`: our own settings and nothing else, and no key to an address that it names."""

import os
import re
from pathlib import Path

import dotenv
import pytest

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings import read_settings
from polycopy_assets.settings.env_file import refuse_foreign_url, take

FOREIGN = "POLYCOPY_SOURCE=dome\nPOLYCOPY_SOURCE_URL=https://evil.example\n"


def taken(folder: Path, content: str, environ: dict[str, str]) -> str:
    """What is said of a file; `environ` is as a command would have it then."""
    (folder / ".env").write_text(content)
    said = take(environ, folder)
    refuse_foreign_url(environ, folder, read_settings(environ))
    return said


def test_our_own_settings_are_taken_and_the_environment_comes_first(tmp_path: Path):
    environ = {"POLYCOPY_STORE": "mine", "PATH": "/bin"}
    said = taken(
        tmp_path,
        "\ufeffPOLYCOPY_STORE=theirs\nexport POLYCOPY_TIMEOUT='9'\nDAGSTER_HOME=d\n"
        "PYTHONPATH=/evil\nLD_PRELOAD=/evil.so\nHTTPS_PROXY=http://evil\nPATH=/evil\nBARE\n",
        environ,
    )
    assert environ == {
        "POLYCOPY_STORE": "mine",
        "POLYCOPY_TIMEOUT": "9",
        "DAGSTER_HOME": "d",
        "PATH": "/bin",
    }
    assert said == (
        f"settings from {tmp_path}/.env: POLYCOPY_TIMEOUT, DAGSTER_HOME;"
        " not read: PYTHONPATH, LD_PRELOAD, HTTPS_PROXY, PATH"
    )


def test_where_there_is_no_file_nothing_is_said(tmp_path: Path):
    assert take({}, tmp_path) == ""
    (tmp_path / ".env").mkdir()
    assert take({}, tmp_path) == "", "a virtual environment of that name"


def test_a_key_of_the_environment_does_not_go_where_a_file_says(tmp_path: Path):
    with pytest.raises(
        ConfigurationError, match=r"POLYCOPY_SOURCE_URL comes from .*\.env"
    ) as error:
        taken(tmp_path, FOREIGN, {"DOME_API_KEY": "sk-secret"})
    assert "sk-secret" not in str(error.value)
    environ = {"DOME_API_KEY": "sk-secret", "POLYCOPY_SOURCE": "dome"}
    with pytest.raises(ConfigurationError, match="DOME_API_KEY from the environment"):
        taken(tmp_path, FOREIGN + "DOME_API_KEY=another\n", environ)


def test_key_and_address_from_one_place_are_fine(tmp_path: Path):
    taken(tmp_path, FOREIGN + "DOME_API_KEY=theirs\n", {})
    own = {"POLYCOPY_SOURCE_URL": "https://mine", "DOME_API_KEY": "sk-secret"}
    taken(tmp_path, FOREIGN, own)
    assert own["POLYCOPY_SOURCE_URL"] == "https://mine"
    taken(tmp_path, "POLYCOPY_SOURCE_URL=https://x\n", {"DOME_API_KEY": "not needed, not sent"})


@pytest.mark.parametrize(
    "line",
    [
        "POLYCOPY_SOURCE_URL=https://evil/${NAME}",
        "DOME_API_KEY=${DOME_API_KEY}",
        "DOME_API_KEY=${NOTHING:-sk-secret}",
        'DOME_API_KEY="${DOME_API_KEY}"',
        "POLYCOPY_STORE=${HOME}/store",
    ],
)
def test_as_dagster_expands_the_file_the_key_is_not_sent_either(tmp_path: Path, line: str):
    (tmp_path / ".env").write_text(f"POLYCOPY_SOURCE_URL=https://evil\n{line}\n")
    environ = {"POLYCOPY_SOURCE": "dome", "DOME_API_KEY": "sk-secret"}
    expanded = dotenv.dotenv_values(tmp_path / ".env", interpolate=True)
    environ |= {name: value for name, value in expanded.items() if value}
    environ["DOME_API_KEY"] = "sk-secret"
    with pytest.raises(ConfigurationError, match=r"line 2: .* which is not expanded here") as error:
        refuse_foreign_url(environ, tmp_path, read_settings(environ))
    assert "sk-secret" not in str(error.value)


def test_no_value_is_made_of_others(tmp_path: Path):
    (tmp_path / ".env").write_text("POLYCOPY_SOURCE_URL=https://evil/${DOME_API_KEY}\n")
    with pytest.raises(ConfigurationError, match="not expanded"):
        take({"DOME_API_KEY": "sk-secret"}, tmp_path)


@pytest.mark.parametrize("content", [b"POLYCOPY_STORE=\xff\xfe", b"\xff\xfeP\x00O\x00"])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, content: bytes):
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"cannot read .*\.env: it is not UTF-8"):
        take({}, tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('POLYCOPY_STORE="/data', "line 3 cannot be read: expected NAME=VALUE"),
        ("POLYCOPY_STORE: /data", "line 3 cannot be read"),
        ("=/data", "line 3 cannot be read"),
        ("PYTHONPATH='x", "line 3 cannot be read"),
        ("POLYCOPY_STROE", "line 3: POLYCOPY_STROE is not a setting: did you mean POLYCOPY_STORE?"),
        ("export POLYCOPY_STORE", "line 3: POLYCOPY_STORE has no value"),
        ("DOME_API_KEY", "line 3: DOME_API_KEY has no value"),
        ("POLYCOPY_STORE=a\0b", "line 3: POLYCOPY_STORE holds a line break or a NUL"),
        ('POLYCOPY_STORE="a\nPOLYCOPY_SHARED=b"', "line 3: POLYCOPY_STORE holds a line break"),
    ],
)
def test_a_line_that_would_be_dropped_is_named(tmp_path: Path, line: str, words: str):
    (tmp_path / ".env").write_text(f"POLYCOPY_TIMEOUT=9\n\n{line}\n")
    environ: dict[str, str] = {}
    for read in (
        lambda: take(environ, tmp_path),
        lambda: refuse_foreign_url(environ, tmp_path, read_settings(environ)),
    ):
        with pytest.raises(ConfigurationError, match=re.escape(words)) as error:
            read()
        assert str(error.value).startswith(f"{tmp_path}/.env, line 3")
        assert str(error.value).isprintable()
        assert "/data" not in str(error.value)
    assert not environ


def test_a_home_is_taken_if_it_lies_beside_the_file(tmp_path: Path):
    here = tmp_path / "here"
    (here / "d").mkdir(parents=True)
    (here / "link").symlink_to(tmp_path)
    for home in ("d", "./.polycopy/dagster", str(here / "d"), ""):
        environ: dict[str, str] = {}
        assert taken(here, f"DAGSTER_HOME={home}\n", environ).endswith("DAGSTER_HOME")
        assert environ == {"DAGSTER_HOME": home}
    for home in ("/d", "..", "~/d", "~nobody-of-that-name/d", "link/d", str(tmp_path / "here2")):
        with pytest.raises(ConfigurationError, match=r"the dagster\.yaml there may run code"):
            taken(here, f"DAGSTER_HOME={home}\n", {})
        own = {"DAGSTER_HOME": "/mine"}
        assert taken(here, f"DAGSTER_HOME={home}\n", own).endswith(": none")
        assert own == {"DAGSTER_HOME": "/mine"}


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / ".env")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        take({}, tmp_path)


def test_an_unknown_setting_in_it_is_refused_like_one_in_the_environment(tmp_path: Path):
    (tmp_path / ".env").write_text("POLYCOPY_STOER=x\n")
    with pytest.raises(ConfigurationError, match="did you mean POLYCOPY_STORE"):
        take({}, tmp_path)
