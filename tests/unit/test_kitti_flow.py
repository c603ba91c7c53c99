"""KITTI 2015 on disk, and the evaluation of flow networks on it and on drives."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import optical_flow

from benchmarks.flow_references import plane, raft, still
from mtdrive.batch import TARGET, Inputs, View
from mtdrive.compact import Compact
from mtdrive.data.augment import mirror
from mtdrive.data.drives import Drives
from mtdrive.data.flow_files import read_flow_map, write_flow_map
from mtdrive.data.kitti_flow import KittiFlow
from mtdrive.data.windows import Windows, resized
from mtdrive.errors import ConfigError, DataError
from mtdrive.evaluate_flow import FlowEvaluation, evaluate_flow, score_source
from mtdrive.model import Model
from mtdrive.tasks.flow import Flow
from mtdrive.tasks.policy import Policy
from tests.drive_tree import header, straight, write_drive
from tests.flow_tree import write_kitti_flow

NEXT = View("front", 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_kitti_flow(tmp_path)
    return tmp_path


def test_items_have_both_frames_and_flow_in_pixels_of_their_size(root: Path) -> None:
    windows = Windows(KittiFlow(root), (NEXT,), (48, 160))
    assert (len(windows), windows.labels) == (2, frozenset({"flow_next"}))
    item = windows[1]
    truth = torch.from_numpy(read_flow_map(root / "training" / "flow_occ" / "000001_10.png"))
    rows = (2 * torch.arange(48) + 1).tolist()  # the pixel whose centre is nearest below
    expected = truth[:, rows] * torch.tensor([1.0, 0.5])[:, None, None]
    torch.testing.assert_close(item.labels["flow_next"], expected, equal_nan=True)
    assert item.inputs.views == (TARGET, NEXT)
    assert item.inputs.camera(TARGET)[0, 0] == pytest.approx(0.58 * 160, rel=1e-4)
    assert item.inputs.camera(TARGET)[1, 1] == pytest.approx(0.58 * 160 / 2, rel=1e-4)
    flipped = mirror(item).labels["flow_next"]
    torch.testing.assert_close(flipped[0], -expected[0].flip(-1), equal_nan=True)
    torch.testing.assert_close(flipped[1], expected[1].flip(-1), equal_nan=True)


def test_the_label_is_the_one_that_is_asked_for(root: Path) -> None:
    known = {
        kind: int(
            Windows(KittiFlow(root, flow=kind), (NEXT,), (96, 160))[0].labels["flow_next"].isfinite().sum()
        )
        for kind in ("occ", "noc")
    }
    assert known["occ"] > known["noc"] > 0
    assert Windows(KittiFlow(root, flow="none", scenes=[1]), (NEXT,), (96, 160))[0].labels == {}


def test_what_is_missing_or_of_another_size_is_named(root: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.* no images like 000000_10\.png"):
        KittiFlow(root / "nowhere").targets()
    with pytest.raises(ConfigError, match="testing is not published"):
        KittiFlow(root, part="testing")
    with pytest.raises(DataError, match=r"000007_10\.png: is missing"):
        KittiFlow(root, scenes=[7]).targets()
    write_flow_map(root / "training" / "flow_occ" / "000000_10.png", np.zeros((2, 90, 160)))
    with pytest.raises(DataError, match="is 160x90, but its image 160x96 pixels"):
        Windows(KittiFlow(root), (NEXT,), (48, 160))[0]
    (root / "training" / "calib_cam_to_cam" / "000001.txt").unlink()
    with pytest.raises(DataError, match=r"000001\.txt: no such calibration file"):
        KittiFlow(root).targets()


def test_no_data_set_without_a_second_view_is_taken(tmp_path: Path) -> None:
    write_drive(tmp_path / "d", straight([1.0] * 3))
    source = Drives(tmp_path, stop=1)
    with pytest.raises(DataError, match=r"has all of the views front, front-1 .* they lack front-1"):
        Windows(source, Flow(Compact()).views, (32, 64))


def test_evaluation_has_the_figures_of_the_truth_at_its_size(root: Path) -> None:
    """No motion and a plane have known figures; a network is asked for the frame that the truth leads to."""
    source = KittiFlow(root)
    figures = score_source(source, still, batch_size=1).summary()
    lengths = [np.hypot(*read_flow_map(root / "training" / "flow_occ" / f"{i:06d}_10.png")) for i in range(2)]
    known = np.concatenate([x[np.isfinite(x)] for x in lengths])
    assert figures["epe"] == figures["epe_still"] == pytest.approx(known.mean(), rel=1e-6)
    assert figures["images"] == 2
    assert set(figures) >= {"fl", "epe_occ", "fl_occ", "epe_noc", "fl_noc"}

    torch.manual_seed(0)
    encoder = Compact([8, 8, 8, 8, 16])
    model = Model(encoder, {"flow": Flow(encoder, to=-1), "policy": Policy(encoder, width=32)}).eval()
    score = evaluate_flow(model, FlowEvaluation(source=source, batch_size=2), (64, 96), torch.device("cpu"))
    frames = [
        torch.stack([resized(t.recording.image("front", t.frame + i), (64, 96)) for i in (0, 1)])
        for t in source.targets()
    ]
    swapped = Inputs(
        views=(TARGET, View("front", -1)),
        images=torch.stack(frames),
        intrinsics=torch.eye(3).expand(2, 2, 3, 3),
    )
    with torch.no_grad():
        flow = model.predict(swapped, ["flow"])["flow"].flows[0]
    for size in ((64, 96), (96, 160)):
        flow = torch.nn.functional.interpolate(flow, size, mode="bilinear")
    flow = flow.double() * torch.tensor([160 / 96, 96 / 64], dtype=torch.float64)[:, None, None]
    truth = read_flow_map(root / "training" / "flow_noc" / "000000_10.png")
    away = np.hypot(*(flow[0].numpy() - truth))
    assert score.errors["noc"][0].epe == pytest.approx(np.nanmean(away), rel=1e-3)
    with pytest.raises(ConfigError, match="'policy' does not predict flow"):
        evaluate_flow(model, FlowEvaluation(source=source, task="policy"), (64, 96), torch.device("cpu"))


def test_raft_runs_at_any_size_through_the_same_measures(root: Path) -> None:
    """Its borders are repeated up to what it takes, 128x160 here, and cut off again."""
    torch.manual_seed(0)
    network = optical_flow.raft_small(weights=None).eval()
    figures = score_source(KittiFlow(root, scenes=[0]), partial(raft, network=network)).summary()
    known = read_flow_map(root / "training" / "flow_occ" / "000000_10.png")
    assert figures["pixels"] == np.isfinite(known[0]).sum()
    assert 0 < figures["epe_noc"] < np.inf


def test_drives_are_scored_to_the_frame_before_and_a_plane_by_the_true_motion(tmp_path: Path) -> None:
    """The car goes ahead by 1 m: where a wall is 10 m away, its picture was a tenth smaller before."""
    size = (32, 64)
    head = header(size, maps={"flow": ("front",)}, mount=np.eye(4))
    lens = head.cameras["front"].pinhole.intrinsics(size)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    centre = np.stack([x - float(lens[0, 2]), y - float(lens[1, 2])], -1)
    rows = [{"flow": {"front": -centre / 11}}] * 3
    write_drive(tmp_path / "d", straight([1.0, 1.0]), head, rows)
    source = Drives(tmp_path, baseline=None)
    score = score_source(source, still)
    assert (len(score.names), score.summary()["images"]) == (2, 2)
    assert list(score.errors) == ["all"]
    assert score.summary()["epe"] > 1
    wall = score_source(source, lambda cases: plane(cases, 10.0)).summary()
    assert wall["epe"] < 0.02
    write_drive(tmp_path / "plain" / "d", straight([1.0]))
    with pytest.raises(DataError, match="camera front has no flow"):
        score_source(Drives(tmp_path / "plain", baseline=None), still)


def test_a_truncated_image_is_named(root: Path) -> None:
    path = root / "training" / "image_2" / "000000_11.png"
    Image.new("L", (3, 3)).save(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"000000_11\.png"):
        Windows(KittiFlow(root), (NEXT,), (48, 160))[0]
