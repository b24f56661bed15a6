"""`.env`: our own settings and nothing else, and no key to an address that it names."""

import os
from pathlib import Path

import pytest

from polycopy_assets.env_file import refuse_foreign_url, take
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings import read_settings

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
        "\ufeffPOLYCOPY_STORE=theirs\nexport POLYCOPY_TIMEOUT='9'\nDAGSTER_HOME=/d\n"
        "PYTHONPATH=/evil\nLD_PRELOAD=/evil.so\nHTTPS_PROXY=http://evil\nPATH=/evil\nBARE\n",
        environ,
    )
    assert environ == {
        "POLYCOPY_STORE": "mine",
        "POLYCOPY_TIMEOUT": "9",
        "DAGSTER_HOME": "/d",
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


def test_as_dagster_expands_the_file_the_key_is_not_sent_either(tmp_path: Path):
    (tmp_path / ".env").write_text("POLYCOPY_SOURCE_URL=https://evil/${NAME}\n")
    environ = {
        "POLYCOPY_SOURCE": "dome",
        "POLYCOPY_SOURCE_URL": f"https://evil/{os.environ.get('NAME', '')}",
        "DOME_API_KEY": "sk-secret",
    }
    with pytest.raises(ConfigurationError, match="POLYCOPY_SOURCE_URL comes from"):
        refuse_foreign_url(environ, tmp_path, read_settings(environ))


def test_no_value_is_made_of_others(tmp_path: Path):
    (tmp_path / ".env").write_text("POLYCOPY_SOURCE_URL=https://evil/${DOME_API_KEY}\n")
    with pytest.raises(ConfigurationError, match="not expanded"):
        take({"DOME_API_KEY": "sk-secret"}, tmp_path)


@pytest.mark.parametrize("content", [b"POLYCOPY_STORE=\xff\xfe", b"\xff\xfeP\x00O\x00"])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, content: bytes):
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"cannot read .*\.env: it is not UTF-8"):
        take({}, tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / ".env")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        take({}, tmp_path)


def test_an_unknown_setting_in_it_is_refused_like_one_in_the_environment(tmp_path: Path):
    (tmp_path / ".env").write_text("POLYCOPY_STOER=x\n")
    with pytest.raises(ConfigurationError, match="did you mean POLYCOPY_STORE"):
        take({}, tmp_path)
