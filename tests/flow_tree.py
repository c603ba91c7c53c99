"""Writes a small tree of KITTI 2015 of a street whose flow is known exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from mtdrive.data.flow_files import write_flow_map
from mtdrive.geometry import rigid_flow
from tests.kitti_scene import Scene, Size, make_scene


def true_flow(scene: Scene, frame: int, other: int, camera: int = 2) -> Float64[np.ndarray, "2 h w"]:
    """Return the exact flow from one frame to another, of pixels that it hides, too."""
    motion = np.linalg.inv(scene.pose(other, camera)) @ scene.pose(frame, camera)
    depth, lens = torch.from_numpy(scene.depth(frame, camera))[None, None], torch.from_numpy(scene.intrinsics)
    flow = rigid_flow(depth, lens[None], lens[None], torch.from_numpy(motion)[None]).pixels[0]
    return np.asarray(flow.numpy())


def write_kitti_flow(root: Path, scenes: int = 2, size: Size = (96, 160)) -> list[Scene]:
    """Write scenes with images, sparse flow, calibration; the flow of `noc` lacks what leaves the image."""
    folder, made = root / "training", []
    for number in range(scenes):
        scene = make_scene(2, size, number)
        flow = true_flow(scene, 0, 1)
        flow[:, ::3] = np.nan
        ends = flow + np.mgrid[: size[0], : size[1]][::-1]
        with np.errstate(invalid="ignore"):
            inside = (ends >= 0).all(0) & (ends[0] <= size[1] - 1) & (ends[1] <= size[0] - 1)
        for name, values in (("occ", flow), ("noc", np.where(inside, flow, np.nan))):
            write_flow_map(folder / f"flow_{name}" / f"{number:06d}_10.png", values)
        (folder / "image_2").mkdir(exist_ok=True)
        for frame in range(2):
            scene.image(frame).save(folder / "image_2" / f"{number:06d}_{10 + frame}.png")
        (folder / "calib_cam_to_cam").mkdir(exist_ok=True)
        projection = " ".join(f"{x:.9e}" for x in scene.projection(2).ravel())
        text = f"S_rect_02: {size[1]} {size[0]}\nP_rect_02: {projection}\n"
        (folder / "calib_cam_to_cam" / f"{number:06d}.txt").write_text(text)
        made.append(scene)
    return made
