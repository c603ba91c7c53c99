"""Batches of drawing: fences are held as long as a thread of Mesa's may be at them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from mtdrive.envs.town.device import Device, Quads
from mtdrive.envs.town.lamplight import Lamplight
from mtdrive.envs.town.pacing import Pace
from mtdrive.envs.town.renderer import Renderer
from mtdrive.envs.town.roads import load_map
from mtdrive.envs.town.stage import Body, Camera, Pose, Stage
from mtdrive.envs.town.tags import Tag
from mtdrive.envs.town.weather import CLEAR_DAY, Weather

RAINY_NIGHT = Weather(80.0, 60.0, 60.0, 60.0, sun_altitude_angle=-90.0, wetness=80.0)


def test_a_fence_is_let_go_only_after_a_later_one_was_waited_for() -> None:
    said: list[Any] = []
    answers = [0x911C, 0x911B, 0x911A]  # satisfied, its time is up, there already
    numbers: Iterator[int] = iter(range(1, 100))

    def fence(condition: int, _: int) -> int:
        assert condition == 0x9117
        said.append(("fence", number := next(numbers)))
        return number

    def wait(one: int, *_: int) -> int:
        said.append(("wait", one))
        return answers.pop(0)

    kinds = {
        "glFenceSync": ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)(fence),
        "glClientWaitSync": ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint64)(
            wait
        ),
        "glDeleteSync": ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda one: said.append(("drop", one))),
        "glFlush": ctypes.CFUNCTYPE(None)(lambda: said.append("flush")),
    }
    pace = Pace(lambda name: ctypes.cast(kinds[name], ctypes.c_void_p).value or 0)
    pace.hand_over()
    pace.settle()
    assert said == [("fence", 1), "flush", ("fence", 2), "flush", ("wait", 2), ("drop", 1)]
    said.clear()
    pace.settle()
    assert said == [("fence", 3), "flush", ("wait", 3)]
    said.clear()
    pace.settle()
    assert said == [("fence", 4), "flush", ("wait", 4), ("drop", 2), ("drop", 3)]


@pytest.mark.parametrize("weather", [CLEAR_DAY, RAINY_NIGHT], ids=["day", "rainy night"])
def test_no_image_is_left_before_what_was_drawn_into_it_is_handed_over(
    weather: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = Renderer(load_map("Small"))
    said: list[Any] = []

    def tell(owner: type, name: str, what: Callable[[], Any]) -> None:
        own = getattr(owner, name)

        def told(*args: Any, **settings: Any) -> Any:
            said.append(what())
            return own(*args, **settings)

        monkeypatch.setattr(owner, name, told)

    for owner, name in ((Quads, "draw"), (Device, "screen"), (Lamplight, "draw")):
        tell(owner, name, lambda: renderer.context.fbo)
    tell(Pace, "hand_over", lambda: None)
    car = Body(1, "vehicle.audi.tt", Pose(x=12.0), (2.3, 0.95, 0.75), (90, 0, 0), Tag.CAR, 0x3)
    stage = Stage(0, (car,), {}, weather)
    camera = Camera(96, 64, 90.0, Pose(z=2.0))
    renderer.render(camera, camera, stage, stage)
    renderer.close()
    images = {id(frame) for frame in said if frame is not None}
    assert len(images) >= 4  # of light, large, labels, colours
    for one, other in pairwise(said):
        assert one is None or other is None or one is other
