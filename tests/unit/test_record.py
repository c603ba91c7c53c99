import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mtdrive.errors import ConfigError, DataError
from mtdrive.record import FILE, RecordSettings, plans, record

SETTINGS = RecordSettings(towns=("Small", "Grid"), drives=32)


def test_towns_weathers_and_densities_come_equally_often() -> None:
    found = plans(SETTINGS)
    assert set(Counter(p.town for p in found).values()) == {16}
    assert set(Counter((p.town, p.weather, p.density) for p in found).values()) == {2}
    assert len({p.seed for p in found}) == len({p.name for p in found}) == 32


def test_more_drives_leave_the_first_ones_as_they_are() -> None:
    assert plans(replace(SETTINGS, drives=50))[:32] == plans(SETTINGS)
    assert plans(replace(SETTINGS, seed=1)) != plans(SETTINGS)


def test_about_the_wished_share_is_noisy() -> None:
    found = plans(replace(SETTINGS, drives=400, noisy=0.25))
    assert 70 < sum(p.noise > 0 for p in found) < 130
    assert all(p.noise == 0 for p in plans(replace(SETTINGS, noisy=0.0)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weathers": ("Sunny",)}, "found 'Sunny'"),
        ({"drives": 0}, "drives must be at least 1"),
        ({"noisy": 1.5}, "from 0 to 1"),
        ({"densities": ("many",)}, "densities are empty"),
        ({"labels": ("lidar",)}, "labels are depth"),
        ({"towns": ()}, "at least one each"),
        ({"rate": 5.0}, "rate must be at least"),
    ],
)
def test_bad_settings_are_refused_before_anything_starts(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(SETTINGS, **change)  # type: ignore[arg-type]


def test_a_folder_keeps_to_its_settings_but_may_get_more_drives(tmp_path: Path) -> None:
    small = replace(SETTINGS, drives=1)
    (tmp_path / plans(small)[0].name).mkdir()
    (tmp_path / plans(small)[0].name / "drive.json").touch()
    assert record(tmp_path, small).present == [plans(small)[0].name]
    with pytest.raises(ConfigError, match=r"recorded with fov 90\.0, now 60\.0"):
        record(tmp_path, replace(small, fov=60.0))
    told = json.loads((tmp_path / FILE).read_text())
    assert (told["drives"], told["fov"]) == (1, 90.0)


def test_a_damaged_list_of_settings_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[1, 2")
    with pytest.raises(DataError, match="recording.json: cannot be read"):
        record(tmp_path, SETTINGS)
    with pytest.raises(ConfigError, match="workers"):
        record(tmp_path, SETTINGS, workers=0)
