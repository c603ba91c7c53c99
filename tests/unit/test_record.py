import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mtdrive.errors import ConfigError, DataError
from mtdrive.record import record
from mtdrive.record_plan import FILE, Ledger, RecordSettings, further_plans, plans

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
        ({"wishes": {"rain": 0.1}}, "a wish is one of"),
        ({"wishes": {"leader": 1.0}}, "between 0 and 1"),
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
    assert json.loads((tmp_path / FILE).read_text())["settings"]["fov"] == 90.0
    assert len(Ledger(tmp_path, replace(small, drives=2)).plans) == 2


def test_a_damaged_list_of_settings_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[1, 2")
    with pytest.raises(DataError, match=r"recording\.json: cannot be read"):
        record(tmp_path, SETTINGS)
    with pytest.raises(ConfigError, match="workers"):
        record(tmp_path, SETTINGS, workers=0)


WISHFUL = replace(SETTINGS, drives=8, wishes={"leader": 0.2, "red_light": 0.1}, most=3)


def test_further_drives_are_for_what_is_lacking_most_and_end_when_it_is_met() -> None:
    found = further_plans(WISHFUL, 8, {"leader": 0.15, "red_light": 0.01})
    assert [(p.prefers, p.density) for p in found] == [("red_light", "dense")] * 2
    assert not {p.name for p in found} & {p.name for p in plans(WISHFUL)}
    assert [p.prefers for p in further_plans(WISHFUL, 10, {"leader": 0.1, "red_light": 0.2})] == ["leader"]
    assert further_plans(WISHFUL, 11, {}) == []
    assert further_plans(WISHFUL, 8, {"leader": 0.2, "red_light": 0.1}) == []


def test_further_drives_are_written_down_before_they_are_recorded(tmp_path: Path) -> None:
    more = further_plans(WISHFUL, 8, {})
    Ledger(tmp_path, WISHFUL).add(more)
    assert Ledger(tmp_path, WISHFUL).plans == [*plans(WISHFUL), *more]
    assert Ledger(tmp_path, replace(WISHFUL, wishes={"stop_sign": 0.5})).plans == [*plans(WISHFUL), *more]
    with pytest.raises(ConfigError, match="recorded with drives 8, now 9"):
        Ledger(tmp_path, replace(WISHFUL, drives=9))
