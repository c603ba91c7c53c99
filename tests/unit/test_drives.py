from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float64
from PIL import Image

from mtdrive.batch import TARGET, Command, View
from mtdrive.check import example_batch
from mtdrive.classes import CARLA, CITYSCAPES, TAGS
from mtdrive.data.augment import MIRRORED_COMMAND, mirror
from mtdrive.data.drive_files import Drive
from mtdrive.data.drive_header import MAPS, SHIFTED
from mtdrive.data.drive_recording import DRIVE_LABELS
from mtdrive.data.drive_table import DriveFrame
from mtdrive.data.drive_writer import DriveWriter
from mtdrive.data.drives import DamagedDriveWarning, Drives
from mtdrive.data.loaders import Order, training_batches
from mtdrive.data.windows import Windows
from mtdrive.errors import ConfigError, DataError
from mtdrive.evaluate_odometry import find_routes
from tests.drive_tree import MOUNT, RATE, SIZE, circle, header, rigid, straight, write_drive

PREVIOUS, NEXT = View("front", -1), View("front", 1)
ALL = dict.fromkeys(MAPS, ("front",))
EYE = np.eye(4)


def windows(root: Path, views: Sequence[View] = (), size: tuple[int, int] = SIZE, **changes: Any) -> Windows:
    return Windows(Drives(root, **changes), views, size)


def test_an_item_holds_what_was_recorded(tmp_path: Path) -> None:
    left = rigid((-0.4, 0, 0.2), -55)
    head = header(cameras={"left": left}, maps=ALL)
    frames = write_drive(tmp_path / "a", straight([1.0] * 8), head)
    items = windows(tmp_path, (PREVIOUS, NEXT, View("left")), labels=DRIVE_LABELS, baseline=None)
    item, wrote = items[2], frames[3]
    assert item.names == (str(tmp_path / "a/rgb/front/000003.jpg"),)
    assert item.inputs.speed == pytest.approx(wrote.speed)
    assert item.inputs.command == wrote.command
    assert item.inputs.target_point is not None
    assert item.inputs.target_point.tolist() == list(wrote.target_point)
    expected = np.array([[0.7 * 64, 0, 32], [0, 0.8 * 64, 0.45 * 32], [0, 0, 1]])
    np.testing.assert_allclose(item.inputs.intrinsics, np.broadcast_to(expected, (4, 3, 3)), rtol=1e-6)
    for view, moved in ((NEXT, rigid((0, 0, -1.0))), (PREVIOUS, rigid((0, 0, 1.0))), (View("left"), EYE)):
        motion = np.linalg.inv(MOUNT) @ moved @ MOUNT
        rig = np.linalg.inv(left) if view.camera == "left" else EYE
        np.testing.assert_allclose(item.pose(view), rig @ motion, atol=1e-6)
    for name in ("steer", "throttle", "brake"):
        assert float(item.labels[name]) == pytest.approx(getattr(wrote, name))
    assert item.labels["target_speed"].isnan()
    np.testing.assert_allclose(item.labels["path"][:3], wrote.route, rtol=1e-6)
    assert item.labels["path"][3:].isnan().all()
    batch = example_batch(items.views, frozenset(DRIVE_LABELS), SIZE)
    for name, label in item.labels.items():
        assert label.shape == batch.labels[name].shape[1:], name
        assert label.dtype == batch.labels[name].dtype, name


def test_maps_are_resized_without_mixing_values_and_flow_is_in_the_new_pixels(tmp_path: Path) -> None:
    (frame,) = write_drive(tmp_path / "a", straight([]), header(maps=ALL))
    item = windows(tmp_path, size=(16, 16), labels=MAPS, classes="carla", baseline=None)[0]
    rows, columns = np.arange(16) * 2 + 1, np.arange(16) * 4 + 2  # the pixels at the centres
    chosen = np.ix_(rows, columns)
    tags = frame.semantics["front"][chosen]
    np.testing.assert_array_equal(item.labels["semantics"], np.where(tags == 0, 255, tags))
    depth = frame.depth["front"][chosen]
    known = np.where((depth > 0) & (depth <= 200), depth, np.nan)
    np.testing.assert_allclose(item.labels["depth"], known, atol=2e-3)
    flow = frame.flow["front"][chosen] / [4, 2]
    np.testing.assert_allclose(item.labels["flow"].permute(1, 2, 0), flow, atol=1 / 64)


def test_semantics_are_by_default_of_the_classes_that_real_data_have(tmp_path: Path) -> None:
    (frame,) = write_drive(tmp_path / "a", straight([]), header(maps=ALL))
    items = windows(tmp_path, labels=["semantics"])
    expected = TAGS["cityscapes"].table[frame.semantics["front"]]
    np.testing.assert_array_equal(items[0].labels["semantics"], expected)
    assert items.recordings[0].classes == {"semantics": CITYSCAPES.names}
    tags = windows(tmp_path, labels=["semantics"], classes="carla")
    assert tags.recordings[0].classes == {"semantics": CARLA.names}
    assert windows(tmp_path).recordings[0].classes == {}
    (path,) = (tmp_path / "a/semantics/front").iterdir()
    Image.fromarray(np.full(SIZE, 29, np.uint8)).save(path)
    with pytest.raises(DataError, match=r"semantics/front/000000.png: .* ids such as 29, .* from 0 to 28"):
        items[0]


def nearest(places: Float64[np.ndarray, " n"], frame: int, way: int, least: float, most: float) -> int | None:
    """Return the neighbour by trying all frames within a second."""
    others = [k for k in range(len(places)) if 0 < (k - frame) * way <= RATE]
    far = [k for k in others if abs(places[k] - places[frame]) >= least]
    first = min(far, key=lambda k: abs(k - frame), default=None)
    return None if first is None or abs(places[first] - places[frame]) > most else first


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.03, 0.2, 0.5, 1.7, 4.0]), min_size=12, max_size=40))
def test_neighbours_are_the_nearest_frames_that_are_far_enough_but_not_too_far(steps: list[float]) -> None:
    places = np.cumsum([0.0, *steps])
    drive = Drive(Path("none"), replace(header(), frames=len(places)), {"pose": np.stack(straight(steps))})
    recording = Drives("none")._recording(drive, "front")
    for frame in range(len(places)):
        for way in (-1, 1):
            expected = nearest(places, frame, way, 0.3, 3.0)
            assert recording.neighbour(frame, way, 1) == expected
            second = None if expected is None else nearest(places, expected, way, 0.3, 3.0)
            assert recording.neighbour(frame, 2 * way, 1) == second


def test_standing_is_left_out_where_neighbours_are_needed_and_nowhere_else(tmp_path: Path) -> None:
    write_drive(tmp_path / "a", straight([1.0] * 5 + [0.0] * 30 + [0.2] * 10))
    assert len(windows(tmp_path)) == 46
    moving = windows(tmp_path, (PREVIOUS, NEXT))
    baselines = [moving[i].pose(view)[:3, 3].norm() for i in range(len(moving)) for view in (PREVIOUS, NEXT)]
    assert 0.3 <= min(baselines) <= max(baselines) <= 1.001
    assert {t.frame for t in moving.targets} >= {1, 2, 3, 4, 38, 40}
    assert not {t.frame for t in moving.targets} & set(range(16, 25))
    assert len(windows(tmp_path, (PREVIOUS, NEXT), baseline=None)) == 44


def test_a_stride_is_the_least_distance_of_frames(tmp_path: Path) -> None:
    write_drive(tmp_path / "a", straight([0.5] * 8))
    item = Windows(Drives(tmp_path), (NEXT,), SIZE, stride=3)[0]
    assert float(item.pose(NEXT)[:3, 3].norm()) == pytest.approx(1.5)


def test_flow_goes_with_the_frame_before_alone(tmp_path: Path) -> None:
    write_drive(tmp_path / "a", straight([1.0] * 4), header(maps=ALL))
    with pytest.raises(ConfigError, match=r"flow leads to the frame before, .* set baseline to null"):
        Drives(tmp_path, labels=["flow"])
    with pytest.raises(ConfigError, match="set stride to 1, not 2"):
        Windows(Drives(tmp_path, labels=["flow"], baseline=None), (PREVIOUS,), SIZE, stride=2)


def test_trajectories_are_refused_where_neighbours_go_by_distance(tmp_path: Path) -> None:
    write_drive(tmp_path / "a", straight([0.2] * 6))
    with pytest.raises(DataError, match=r"frame 0 is followed by 2, not by 1, .* set baseline to null"):
        find_routes(Drives(tmp_path), 1)
    assert len(find_routes(Drives(tmp_path, baseline=None), 1)[0].frames) == 7


def test_waypoints_are_where_the_car_goes_not_the_camera(tmp_path: Path) -> None:
    """On a circle of 20 m to the right at 6 m/s: after t seconds, 0.3 t of its angle."""
    write_drive(tmp_path / "a", circle(60, 20.0, 6.0))
    items = windows(tmp_path, labels=["waypoints"])
    angles = 0.3 * 0.5 * np.arange(1, 9)
    expected = np.stack([20 * (1 - np.cos(angles)), 20 * np.sin(angles)], -1)
    for index in (0, 19):
        np.testing.assert_allclose(items[index].labels["waypoints"], expected, atol=1e-5)
    ends = items[42].labels["waypoints"]  # 1.7 s before the last frame
    np.testing.assert_allclose(ends[:3], expected[:3], atol=1e-5)
    assert ends[3:].isnan().all()


def test_waypoints_between_frames_are_interpolated(tmp_path: Path) -> None:
    write_drive(tmp_path / "a", straight([1.0] * 20), header(rate=3.0))
    ahead = windows(tmp_path, labels=["waypoints"])[0].labels["waypoints"]
    np.testing.assert_allclose(ahead[:, 1], 1.5 * np.arange(1, 9), rtol=1e-6)


def shifted_drive(root: Path) -> list[DriveFrame]:
    route = np.stack([np.zeros(20), np.arange(1.0, 21)], -1)
    fixed = {"route": route, "target_point": (2.0, 30.0)}
    changes = [{"shift": (0.25 * i - 1, 3.0 * i - 9), **fixed} for i in range(50)]
    return write_drive(root / "a", straight([0.6] * 49), header(cameras={SHIFTED: EYE}), changes)


def test_the_shifted_camera_has_the_pose_of_its_frame(tmp_path: Path) -> None:
    """A point of the world is where both cameras, mounted by CARLA's rule, see it."""
    shifted_drive(tmp_path)
    items = windows(tmp_path, (View(SHIFTED),))
    for i in (0, 3, 7):
        right, yaw = 0.25 * i - 1, 3.0 * i - 9
        mounted = rigid((right, -2.0, 1.4), yaw, pitch=-6)  # turned about the vertical after it was pitched
        point = np.array([3.0, -1.0, 25.0, 1.0])  # of the car
        seen = items[i].pose(View(SHIFTED)).double().numpy() @ np.linalg.inv(MOUNT) @ point
        np.testing.assert_allclose(seen, np.linalg.inv(mounted) @ point, atol=1e-5)


def test_the_shifted_camera_as_front_is_a_car_that_stands_aside(tmp_path: Path) -> None:
    shifted_drive(tmp_path)
    source = Drives(tmp_path, cameras=[SHIFTED], labels=["waypoints", "path"], baseline=None)
    items = Windows(source, (NEXT,), SIZE)
    for i in (0, 3, 7):
        right, yaw = 0.25 * i - 1, np.radians(3.0 * i - 9)
        turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
        # The camera turns about itself, so that the car it would sit on turns about the camera.
        origin = np.array([right, 1.4]) - turn @ np.array([0, 1.4])
        ahead = np.stack([np.zeros(8), 3.0 * np.arange(1, 9)], -1)
        path = np.stack([np.zeros(20), np.arange(1.0, 21)], -1)
        item = items[i]
        np.testing.assert_allclose(item.labels["waypoints"], (ahead - origin) @ turn, atol=1e-5)
        np.testing.assert_allclose(item.labels["path"], (path - origin) @ turn, atol=1e-5)
        assert item.inputs.target_point is not None
        np.testing.assert_allclose(item.inputs.target_point, ([2.0, 30.0] - origin) @ turn, atol=1e-5)
    assert items.targets[0].recording.path("front", 0) == tmp_path / "a/rgb/shifted/000000.jpg"
    step = Windows(source, (View(SHIFTED, 1),), SIZE)[4].pose(View(SHIFTED, 1))
    torch.testing.assert_close(step, items[4].pose(NEXT))
    with pytest.raises(ConfigError, match="take steer off the labels of shifted"):
        Drives(tmp_path, cameras=[SHIFTED], labels=["steer"]).targets()


FLIP = np.diag([-1.0, 1, 1, 1])


def mirrored(frame: DriveFrame) -> DriveFrame:
    """Return the frame in a world whose right is left."""
    flow = {c: f[:, ::-1] * [-1, 1] for c, f in frame.flow.items()}
    return replace(
        frame,
        pose=FLIP @ frame.pose @ FLIP,
        command=int(MIRRORED_COMMAND.get(Command(frame.command), Command(frame.command))),
        target_point=(-frame.target_point[0], frame.target_point[1]),
        steer=-frame.steer,
        route=frame.route * [-1, 1],
        images={c: np.ascontiguousarray(i[:, ::-1]) for c, i in frame.images.items()},
        depth={c: d[:, ::-1] for c, d in frame.depth.items()},
        semantics={c: s[:, ::-1] for c, s in frame.semantics.items()},
        flow=flow,
        shift=(-frame.shift[0], -frame.shift[1]),
    )


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["front", SHIFTED]))
def test_a_mirrored_world_gives_mirrored_items(seed: int, camera: str) -> None:
    rng = np.random.default_rng(seed)
    cars = [
        rigid(rng.normal([0, 0, 2.0 * i]).tolist(), rng.normal(0, 20), rng.normal(0, 3)) for i in range(5)
    ]
    maps = dict.fromkeys(MAPS, (camera,))
    head = header(cameras={SHIFTED: EYE, "left": rigid((-1, 0, 0), -40)}, maps=maps)
    pinhole = replace(head.cameras["front"].pinhole, cx=63 - head.cameras["front"].pinhole.cx)
    cameras = {n: replace(c, pinhole=pinhole, front=FLIP @ c.front @ FLIP) for n, c in head.cameras.items()}
    other = replace(head, mount=FLIP @ MOUNT @ FLIP, cameras=cameras)
    labels = [name for name in DRIVE_LABELS if name != "steer" or camera == "front"]
    views = (PREVIOUS, NEXT, View("left"), View(SHIFTED))
    with TemporaryDirectory() as folder:
        root = Path(folder)
        frames = write_drive(root / "plain" / "a", cars, head)
        with DriveWriter(root / "flipped" / "a", other) as writer:
            for each in frames:
                writer.append(mirrored(each))
            writer.finish()
        plain, flipped = (
            windows(root / side, views, cameras=[camera], labels=labels, baseline=None)[1]
            for side in ("plain", "flipped")
        )
    expected = mirror(plain)
    for field in ("intrinsics", "speed", "command", "target_point"):
        torch.testing.assert_close(getattr(flipped.inputs, field), getattr(expected.inputs, field))
    torch.testing.assert_close(flipped.poses, expected.poses, atol=1e-5, rtol=1e-5)
    assert (flipped.clean - expected.clean).abs().mean() < 0.01
    assert not torch.equal(flipped.inputs.target_point, plain.inputs.target_point)  # type: ignore[arg-type]
    for name in labels:
        torch.testing.assert_close(
            flipped.labels[name], expected.labels[name], atol=1e-4, rtol=1e-5, equal_nan=True
        )
        twice = mirror(expected).labels[name]
        torch.testing.assert_close(twice, plain.labels[name], atol=0, rtol=0, equal_nan=True)


def tree(root: Path) -> None:
    for name, town, weather in (("a", "Town01", "ClearNoon"), ("b/c", "Town02", "WetNoon")):
        write_drive(root / name, straight([1.0] * 4), header(town=town, weather=weather))


def test_drives_are_found_at_any_depth_and_chosen_by_name_town_and_weather(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / ".d.partial").mkdir()
    (tmp_path / ".d.partial" / "drive.json").write_text("{}")

    def names(**changes: Any) -> set[str]:
        return {t.recording.name for t in Drives(tmp_path, **changes).targets()}

    one, two = f"{tmp_path.name}/a/front", f"{tmp_path.name}/b/c/front"
    assert names() == {one, two}
    assert names(drives=["b/c"]) == names(towns=["Town02"]) == names(weathers=["WetNoon"]) == {two}
    assert [t.frame for t in Drives(tmp_path / "a").targets()] == [0, 1, 2, 3, 4]
    assert [t.frame for t in Drives(tmp_path / "a", start=1, stop=4, every=2).targets()] == [1, 3]
    with pytest.raises(DataError, match="no frame to use; the settings drives, towns"):
        Drives(tmp_path, towns=["Town09"]).targets()
    with pytest.raises(DataError, match="no drives; root must be what"):
        Drives(tmp_path / "none").targets()


def test_a_damaged_drive_is_refused_or_left_out_and_costs_no_other(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "a" / "rgb" / "front" / "000002.jpg").unlink()
    with pytest.raises(DataError, match=r"000002\.jpg: is missing.* \(skip_damaged leaves such drives out\)"):
        Drives(tmp_path).targets()
    with pytest.warns(DamagedDriveWarning, match=r"left out: .*000002\.jpg"):
        targets = Drives(tmp_path, skip_damaged=True).targets()
    assert {t.recording.path("front", 0).parts[-4] for t in targets} == {"c"}
    assert Drives(tmp_path, towns=["Town02"]).targets()  # it is not even asked for


def test_an_image_of_another_size_or_cut_off_is_one_line(tmp_path: Path) -> None:
    tree(tmp_path)
    folder = tmp_path / "a" / "rgb" / "front"
    Image.new("RGB", (64, 40)).save(folder / "000002.jpg")
    (folder / "000003.jpg").write_bytes((folder / "000003.jpg").read_bytes()[:200])
    items = windows(tmp_path / "a")
    with pytest.raises(
        DataError, match=r"000002\.jpg: expected 64x32 pixels as drive\.json says, found 64x40"
    ):
        items[2]
    with pytest.raises(DataError, match=r"000003\.jpg: .*runcated"):
        items[3]


def test_what_a_drive_lacks_is_named_at_the_start(tmp_path: Path) -> None:
    tree(tmp_path)
    with pytest.raises(DataError, match="camera front has no depth; take it off the labels, or record"):
        Drives(tmp_path, labels=["depth"]).targets()
    with pytest.raises(DataError, match="has no camera 'rear', but front"):
        Drives(tmp_path, cameras=["rear"]).targets()
    for changes, message in (
        ({"baseline": (2.0, 1.0)}, "baseline must be two rising distances"),
        ({"every": 0}, "every must be at least 1"),
        ({"start": 3, "stop": 3}, "stop after it, found 3 and 3"),
        ({"cameras": []}, "cameras must name at least one"),
    ):
        with pytest.raises(ConfigError, match=message):
            Drives(tmp_path, **changes)


def test_the_recorded_depth_is_what_to_evaluate_against(tmp_path: Path) -> None:
    (frame,) = write_drive(tmp_path / "a", straight([]), header(maps=ALL))
    truth = Drives(tmp_path).targets()[0].recording.ground_truth(0, "camera")
    depth = frame.depth["front"]
    np.testing.assert_allclose(truth, np.where((depth > 0) & (depth <= 200), depth, 0), atol=2e-3)


def test_situations_tell_command_speed_and_what_is_ahead(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"command": 1, "speed": 0.0, "brake": 0.0, "steer": 0.0, "leader_distance": 19.0},
        {"command": 5, "speed": 5.0, "brake": 0.9, "steer": -0.2, "light_state": 0, "light_distance": 10.0},
        {"command": 4, "speed": 20.0, "brake": 0.0, "steer": 0.0, "light_state": 2, "light_distance": 3.0},
        {"command": 4, "speed": 0.0, "brake": 0.9, "steer": 0.0, "target_speed": 0.9, "stop_distance": 2.0},
        {"command": 4, "speed": 0.4, "brake": 0.0, "steer": 0.0, "target_speed": 1.1, "stop_distance": 2.0},
    ]
    write_drive(tmp_path / "a", straight([1.0] * 4), rows=rows)
    recording = Drives(tmp_path).targets()[0].recording
    assert [recording.situations(i) for i in range(5)] == [
        {"left", "standing", "leader"},
        {"change_left", "medium", "braking", "turning", "red_light"},
        {"follow", "fast"},
        {"follow", "standing", "stop_sign"},  # the brake holds it: that is not braking
        {"follow", "slow", "starting", "stop_sign"},
    ]


def test_workers_bring_drives_in_the_same_order(tmp_path: Path) -> None:
    write_drive(tmp_path / "a", straight([1.0] * 12), header(maps=ALL))
    items = windows(tmp_path, (PREVIOUS, NEXT), labels=["depth", "waypoints"])
    order = Order(len(items), 4, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        inline, worked = (list(islice(training_batches(items, order, n, False), 3)) for n in (0, 2))
    for one, other in zip(inline, worked, strict=True):
        assert one.rest.names == other.rest.names
        assert torch.equal(one.images, other.images)
    assert inline[0].to("cpu").inputs.image(TARGET).shape == (4, 3, *SIZE)
