"""Faults on demand, as a client sees them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mtdrive.envs.servers import open_server
from mtdrive.envs.town import Town
from mtdrive.envs.town.faults import Fault, Faults, read_fault
from mtdrive.envs.town.world import Settings
from mtdrive.errors import ConfigError, SimulatorError
from scripts.fuzz_caller import Caller, Ear
from tests.town_land import XODR
from tests.unit.test_town_client import SERVER

TICK = 30
"""Of the first fault: the server has made a few steps before a client is in synchronous mode."""


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "street.xodr"
    path.write_text(XODR)
    return path


@contextmanager
def before_the_fault(street: Path, *faults: str) -> Iterator[tuple[Town, Caller]]:
    """Give a server in synchronous mode whose next step is `TICK`, and its client."""
    with Town(xodr=street, faults=faults, command=SERVER) as town, closing(Caller(town.port)) as caller:
        advance(caller, TICK - 1)
        yield town, caller


def advance(caller: Caller, frame: int) -> None:
    """Make steps in synchronous mode until one has a number."""
    now = caller.call("set_episode_settings", Settings(synchronous=True, fixed_delta=0.05).write())
    while now < frame:
        now = caller.call("tick_cue")
    assert now == frame


def listen(caller: Caller, kind: str) -> closing[Ear]:
    sensor = caller.call("spawn_actor", [0, kind, []], [[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    return closing(Ear(caller, int.from_bytes(sensor[5][:4], "little")))


def test_every_form_is_read() -> None:
    assert read_fault("kill@7") == Fault("kill", 7)
    assert read_fault("close@1") == Fault("close", 1)
    assert read_fault("hang@7:2.5") == Fault("hang", 7, seconds=2.5)
    assert read_fault("drop-frame@7:camera.rgb") == Fault("drop-frame", 7, sensor="sensor.camera.rgb")
    assert read_fault("late-frame@7:other.imu") == Fault("late-frame", 7, sensor="sensor.other.imu")
    assert read_fault("wrong-version") == Fault("wrong-version")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected kill@TICK, hang"),
        ("kill", "expected kill@TICK, hang"),
        ("kill@x", "expected kill@TICK, hang"),
        ("kill@-1", "expected kill@TICK, hang"),
        ("kill@0", "the first step is 1"),
        ("kill@5:1", "expected kill@TICK, hang"),
        ("explode@5", "expected kill@TICK, hang"),
        ("wrong-version@5", "expected kill@TICK, hang"),
        ("hang@5", "expected kill@TICK, hang"),
        ("hang@5:soon", "expected kill@TICK, hang"),
        ("hang@5:0", "expected above 0 and at most 86400 seconds, found 0"),
        ("hang@5:1e9", "expected kill@TICK, hang"),
        ("drop-frame@5", "expected kill@TICK, hang"),
        ("drop-frame@5:rgb", "expected a sensor of camera.depth, .*; found 'rgb'"),
        ("late-frame@5:sensor.camera.rgb", "expected a sensor of camera.depth, "),
    ],
)
def test_nonsense_is_one_clear_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        read_fault(text)
    assert "\n" not in str(raised.value)
    assert f"fault {text!r}" in str(raised.value)


def test_the_command_refuses_nonsense_before_it_starts() -> None:
    command = [sys.executable, "-m", "mtdrive", "town", "--fault", "kill@soon"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "fault 'kill@soon': expected kill@TICK" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_frames_are_lost_or_late_and_a_server_that_hangs_goes_on(street: Path) -> None:
    faults = f"drop-frame@{TICK}:other.imu", f"late-frame@{TICK + 1}:other.imu", f"hang@{TICK + 3}:1.5"
    with (
        before_the_fault(street, *faults) as (town, caller),
        listen(caller, "sensor.other.imu") as imu,
        listen(caller, "sensor.other.gnss") as gnss,
        closing(Caller(town.port)) as other,
    ):
        for _ in range(2):
            caller.call("tick_cue")
        assert [gnss.frame(), gnss.frame()] == [TICK, TICK + 1]
        assert not imu.hears(0.3)
        caller.call("tick_cue")
        assert [imu.frame(), imu.frame()] == [TICK + 1, TICK + 2]

        assert other.call("version") == "0.9.16"
        caller.send("tick_cue")
        time.sleep(0.2)
        begun = time.monotonic()
        assert other.call("version") == "0.9.16"
        assert time.monotonic() - begun > 1.0
        assert caller.result() == [[1, TICK + 3]]
        assert [imu.frame(), gnss.frame(), gnss.frame()] == [TICK + 3, TICK + 2, TICK + 3]


def test_connections_are_closed_and_a_server_dies_in_the_middle_of_a_tick(street: Path) -> None:
    faults = f"close@{TICK}", f"kill@{2 * TICK}"
    with before_the_fault(street, *faults) as (town, caller), listen(caller, "sensor.other.imu") as imu:
        with pytest.raises(ConnectionError):
            caller.call("tick_cue")
        with pytest.raises(ConnectionError):
            imu.message()
        assert town.alive
        with closing(Caller(town.port)) as again:
            assert again.call("version") == "0.9.16"
            assert again.call("get_episode_settings")[0] is False
            advance(again, 2 * TICK - 1)
            with pytest.raises(ConnectionError):
                again.call("tick_cue")
        assert town.process.wait(10) == -9


def test_a_wrong_version_is_refused_by_what_stands_above(street: Path) -> None:
    with (
        Town(xodr=street, faults=["wrong-version"], command=SERVER) as town,
        pytest.raises(SimulatorError, match=r"is CARLA 0\.9\.15, the client 0\.9\.16"),
        open_server(f"127.0.0.1:{town.port}"),
    ):
        pass


def test_of_two_faults_of_a_frame_the_worse_one_counts() -> None:
    faults = Faults([read_fault("late-frame@3:camera.rgb"), read_fault("drop-frame@3:camera.rgb")])
    assert faults.keeps(3, "sensor.camera.rgb", 9, b"image")
    assert faults.overdue() == []
    assert not faults.keeps(3, "sensor.camera.depth", 9, b"image")
    assert not faults.keeps(4, "sensor.camera.rgb", 9, b"image")
