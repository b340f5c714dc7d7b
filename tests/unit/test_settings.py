"""Settings: their defaults, and the environment."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from include.settings import PROJECT_ROOT, Settings


def test_the_defaults_are_those_of_the_business() -> None:
    settings = Settings()
    assert settings.zone == ZoneInfo("Asia/Kuala_Lumpur")
    assert (settings.source_connection, settings.warehouse_connection, settings.control_connection) == (
        *("pos_source", "warehouse", "control"),
    )
    assert (settings.source_pool, settings.max_workers) == ("pos_source", 2)
    assert settings.batch_bytes == 4 * 1024 * 1024


def test_what_is_written_stays_inside_the_project() -> None:
    settings = Settings()
    assert (PROJECT_ROOT / "pyproject.toml").is_file()
    assert settings.local_dir == PROJECT_ROOT / ".local"
    assert Path(settings.exports_url) == PROJECT_ROOT / "exports"


def test_the_environment_overrides_each_default(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "business_timezone": "Europe/Berlin",
        "exports_url": "s3://bucket/prefix",
        "local_dir": "/tmp/elsewhere",
        "max_workers": "3",
        "batch_bytes": "65536",
        "lock_wait": "0",
        "progress_every": "0.5",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"RETAIL_SYNC_{name.upper()}", value)
    found = Settings().model_dump()
    assert {name: str(found[name]) for name in values} == {**values, "lock_wait": "0.0"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_workers", "0"),
        ("max_workers", "two"),
        ("max_workers", ""),
        ("batch_bytes", "65535"),
        ("lock_wait", "-1"),
        ("publish_lock_wait", "0"),
        ("publish_wait", "-0.1"),
        ("progress_every", "0"),
        ("retries", "0"),
        ("retry_delay", "-1"),
        ("business_timezone", "Asia/Kuala Lumpur"),
        ("business_timezone", "../etc/passwd"),
        ("business_timezone", "Asia"),
        ("business_timezone", ""),
    ],
)
def test_a_bad_value_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"RETAIL_SYNC_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name):
        Settings()


def test_settings_do_not_change_while_a_run_is_on() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().max_workers = 5  # type: ignore[misc]
