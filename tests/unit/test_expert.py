import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtdrive.batch import Command
from mtdrive.envs import hazards
from mtdrive.envs.car import Car
from mtdrive.envs.expert import Expert, Style, allowed_speeds
from mtdrive.envs.guide import Guide
from mtdrive.envs.routes import Route
from mtdrive.envs.scene import GREEN, RED, YELLOW, Actor, ActorKind, Scene
from mtdrive.envs.signals import StopLine
from mtdrive.envs.steering import SteeringNoise

EGO = Actor(1, "vehicle", (0.0, 0.0, 0.0), 0.0, (0.0, 0.0, 0.0), (2.4, 1.0, 0.75))
CAR = Car(wheelbase=2.9, largest_steer=math.radians(70))
LIMIT = 12.0


def route_along(xy: np.ndarray, limit: float = LIMIT) -> Route:
    """Return a route through points that are about a metre apart."""
    step = np.diff(xy, axis=0)
    yaw = np.degrees(np.arctan2(step[:, 1], step[:, 0]))
    n = len(xy)
    return Route(
        id="test",
        town="none",
        xyz=np.column_stack([xy, np.zeros(n)]),
        yaw=np.append(yaw, yaw[-1]),
        commands=np.full(n, Command.FOLLOW),
        distance=np.append(0.0, np.cumsum(np.hypot(*step.T))),
        road=np.tile([1, -1], (n, 1)),
        speed_limit=np.full(n, limit),
    )


STRAIGHT = route_along(np.column_stack([np.arange(300.0), np.zeros(300)]))


def quarter(radius: float = 8.0) -> Route:
    """Return 60 m straight on, a right turn, and 60 m on."""
    turns = np.linspace(0, math.pi / 2, 14)[1:]
    before = np.column_stack([np.arange(60.0), np.zeros(60)])
    bend = np.column_stack([59 + radius * np.sin(turns), radius - radius * np.cos(turns)])
    after = np.column_stack([np.full(60, 59 + radius), radius + np.arange(1.0, 61)])
    return route_along(np.concatenate([before, bend, after]))


class World:
    """A car as a point on two axles that obeys at once, and others that go on as they do."""

    def __init__(
        self,
        route: Route,
        others: tuple[Actor, ...] = (),
        lines: tuple[StopLine, ...] = (),
        lights: dict[str, int] | None = None,
    ) -> None:
        self.ego = replace(EGO, xyz=tuple(route.xyz[0].tolist()), yaw=float(route.yaw[0]))
        self.others, self.lights, self.time = others, lights or {}, 0.0
        self.guide, self.expert = Guide(route), Expert(route, lines, CAR)
        self.offsets: list[float] = []
        self.speeds: list[float] = []

    def step(self, dt: float = 0.05) -> None:
        scene = Scene(round(self.time / dt), self.time, self.ego, self.others, self.lights, ())
        self.guide.advance(self.ego.xyz[:2])
        decision = self.expert.act(scene, self.guide)
        speed = max(self.ego.speed + dt * (5.0 * decision.throttle - 8.0 * decision.brake), 0.0)
        angle = decision.steer * CAR.largest_steer
        yaw = math.radians(self.ego.yaw)
        turn = speed * math.tan(angle) / CAR.wheelbase
        slip = math.atan(0.5 * math.tan(angle))
        x, y, z = self.ego.xyz
        x, y = x + dt * speed * math.cos(yaw + slip), y + dt * speed * math.sin(yaw + slip)
        velocity = speed * math.cos(yaw), speed * math.sin(yaw), 0.0
        self.ego = replace(self.ego, xyz=(x, y, z), yaw=math.degrees(yaw + dt * turn), velocity=velocity)
        self.others = tuple(
            replace(a, xyz=(a.xyz[0] + dt * a.velocity[0], a.xyz[1] + dt * a.velocity[1], 0.0))
            for a in self.others
        )
        self.time += dt
        self.offsets.append(abs(self.guide.offset))
        self.speeds.append(speed)

    def run(self, seconds: float) -> None:
        for _ in range(round(20 * seconds)):
            self.step()

    @property
    def front(self) -> float:
        return self.ego.xyz[0] + self.ego.extent[0]


def other(
    x: float, y: float, yaw: float = 0.0, speed: float = 0.0, kind: ActorKind = "vehicle", id: int = 2
) -> Actor:
    extent = (0.3, 0.3, 0.9) if kind == "walker" else (2.4, 1.0, 0.75)
    way = math.radians(yaw)
    return Actor(id, kind, (x, y, 0.0), yaw, (speed * math.cos(way), speed * math.sin(way), 0.0), extent)


def test_it_reaches_the_speed_that_is_allowed_and_no_more() -> None:
    world = World(STRAIGHT)
    world.run(15)
    assert world.speeds[-1] == pytest.approx(LIMIT, abs=0.4)
    assert max(world.speeds) < LIMIT + 0.5


def test_it_stays_in_its_lane_in_a_turn_that_it_takes_slowly() -> None:
    world = World(quarter())
    world.run(25)
    assert world.guide.completion > 0.95
    assert max(world.offsets) < 0.6
    assert min(world.speeds[100:]) < 5.0


def test_it_stops_behind_a_leader_at_rest_and_follows_one_that_drives() -> None:
    world = World(STRAIGHT, (other(80, 0),))
    world.run(25)
    assert world.speeds[-1] < 0.1
    assert 1.5 < 80 - 2.4 - world.front < 5
    world = World(STRAIGHT, (other(20, 0, speed=6.0),))
    world.run(25)
    assert world.speeds[-1] == pytest.approx(6.0, abs=0.5)
    assert world.others[0].xyz[0] - 2.4 - world.front > 5


def test_a_car_beside_the_lane_or_coming_towards_it_is_no_leader() -> None:
    for actor in (other(60, 3.4), other(200, -3.4, yaw=180, speed=9.0), other(-8, 0, speed=5.0)):
        world = World(STRAIGHT, (actor,))
        world.run(8)
        assert world.speeds[-1] > 9


@pytest.mark.parametrize("kind", ["walker", "vehicle"])
def test_it_lets_pass_who_crosses(kind: ActorKind) -> None:
    pace = 1.4 if kind == "walker" else 6.0
    start = -8.0 if kind == "walker" else -35.0
    world = World(STRAIGHT, (other(45, start, yaw=90, speed=pace, kind=kind),))
    nearest = math.inf
    for _ in range(300):
        world.step()
        x, y, _z = world.others[0].xyz
        across = abs(y - world.ego.xyz[1]) - world.others[0].extent[0] - 1.0
        along = abs(x - world.ego.xyz[0]) - world.others[0].extent[1] - 2.4
        nearest = min(nearest, max(across, along))
    assert nearest > 0.3
    assert world.speeds[-1] > 5, "it goes on afterwards"


LIGHT = StopLine(signal="7", kind="light", xyz=(100.0, 0.0, 0.0), yaw=0.0, width=3.5)
STOP = replace(LIGHT, kind="stop")


def test_it_stops_at_a_red_light_and_goes_on_at_green() -> None:
    world = World(STRAIGHT, lines=(LIGHT,), lights={"7": RED})
    world.run(25)
    assert world.speeds[-1] < 0.1
    assert 0 < 100 - world.front < 4
    world.lights = {"7": GREEN}
    world.run(6)
    assert world.front > 105


def test_it_does_not_brake_hard_for_a_light_that_turns_yellow_too_late() -> None:
    world = World(STRAIGHT, lines=(LIGHT,), lights={"7": GREEN})
    while world.front < 93:
        world.step()
    world.lights = {"7": YELLOW}
    world.run(2)
    assert world.front > 105
    assert min(world.speeds[-20:]) > 8


def test_it_comes_to_rest_at_a_stop_sign_and_then_goes_on() -> None:
    world = World(STRAIGHT, lines=(STOP,))
    rest = []
    for _ in range(600):
        world.step()
        if world.speeds[-1] < 0.1 and world.time > 3:
            rest.append(100 - world.front)
    assert rest
    assert 0 < min(rest) <= max(rest) < 3
    assert world.front > 110


@given(st.floats(5, 60), st.floats(2, 25))
def test_the_allowed_speed_can_be_braked_to_and_bends_are_slow(radius: float, limit: float) -> None:
    style = Style()
    route = quarter(radius)
    route = replace(route, speed_limit=np.full(len(route.xyz), limit))
    speeds = allowed_speeds(route, style)
    assert speeds.max() <= limit
    lost = speeds[:-1] ** 2 - speeds[1:] ** 2
    assert (lost <= 2 * style.braking * np.diff(route.distance) + 1e-6).all()
    bend = speeds[66:68].max()
    assert bend**2 / radius <= 1.6 * style.lateral


def test_noise_pushes_both_ways_and_ends() -> None:
    noise = SteeringNoise(3)
    pushes = np.array([noise.push(0.05 * i, 0.05, CAR, 8.0) for i in range(4000)])
    assert (pushes > 0.01).any()
    assert (pushes < -0.01).any()
    assert 0.1 < (pushes == 0).mean() < 0.95
    assert np.abs(np.diff(pushes)).max() < 0.05
    again = SteeringNoise(3)
    assert pushes.tolist() == [again.push(0.05 * i, 0.05, CAR, 8.0) for i in range(4000)]


def test_a_car_without_others_around_sees_no_hazard() -> None:
    guide = Guide(STRAIGHT)
    window = hazards.window_of(STRAIGHT, guide)
    assert hazards.crossing(window, hazards.crowd_of((), {}), EGO, 10.0, 2.0) is None
