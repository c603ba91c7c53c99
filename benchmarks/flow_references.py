"""Scores what any flow network should beat, and RAFT, by the code that scores checkpoints.

Usage: python benchmarks/flow_references.py --drives FOLDER | --kitti FOLDER [--raft small|large|none]
       [--weights FILE] [--every N] [--out FILE]

No motion; on drives the flow of a world at one depth, seen by the camera as it truly moved, for the depth
that is best in hindsight; and torchvision's RAFT (Zachary Teed and Jia Deng, "RAFT: Recurrent All-Pairs
Field Transforms for Optical Flow", ECCV 2020, https://arxiv.org/abs/2003.12039), whose weights torchvision
downloads unless a file of them is given.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional
from torchvision.models import optical_flow

from mtdrive.data.drives import Drives
from mtdrive.data.kitti_flow import KittiFlow
from mtdrive.data.recording import Source
from mtdrive.evaluate_flow import FlowCase, score_source
from mtdrive.geometry import rigid_flow

DEPTHS = (5.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0)
"""Metres of the planes that are tried."""
Flows = list[Float[np.ndarray, "2 _h _w"]]


def still(cases: Sequence[FlowCase]) -> Flows:
    """Predict no motion."""
    return [np.zeros_like(case.truth.flow) for case in cases]


def plane(cases: Sequence[FlowCase], depth: float) -> Flows:
    """Predict the flow of a world at one depth, from the true motion."""
    flows = []
    for case in cases:
        recording, frame = case.target.recording, case.target.frame
        motion = recording.motion(frame, case.truth.other)
        assert motion is not None
        camera = recording.intrinsics("front", case.size)
        at = torch.full((1, *case.size), depth, dtype=torch.float64)
        flows.append(rigid_flow(at, camera, camera, torch.from_numpy(motion)).pixels.numpy())
    return flows


@torch.no_grad()
def raft(cases: Sequence[FlowCase], network: nn.Module) -> Flows:
    """Predict with RAFT at the size of each image, whose borders are repeated up to multiples of 8."""
    flows = []
    for case in cases:
        height, width = case.size
        pair = 2 * case.pair(case.size) - 1
        lowest = (max(-(-height // 8) * 8, 128), max(-(-width // 8) * 8, 128))  # it needs 128 pixels
        padded = functional.pad(pair, (0, lowest[1] - width, 0, lowest[0] - height), mode="replicate")
        flow = network(padded[:1], padded[1:])[-1]
        flows.append(flow[0, :, :height, :width].double().numpy())
    return flows


def load_raft(size: str, weights: Path | None) -> nn.Module:
    """Return RAFT with weights from a file, or from torchvision's hub."""
    make = {"small": optical_flow.raft_small, "large": optical_flow.raft_large}[size]
    network: nn.Module = make(weights=None if weights else "DEFAULT")
    if weights:
        network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def references(source: Source, posed: bool, network: nn.Module | None) -> dict[str, dict[str, float]]:
    """Return the figures of each reference."""
    figures = {"no motion": score_source(source, still).summary()}
    if posed:
        planes = {
            f"plane at {d:g} m": score_source(source, partial(plane, depth=d)).summary() for d in DEPTHS
        }
        best = min(planes, key=lambda name: planes[name]["epe"])
        figures[best] = planes[best]
    if network is not None:
        figures["RAFT"] = score_source(source, partial(raft, network=network)).summary()
    return figures


def main() -> None:
    """Print a table, and write it if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--drives", type=Path, help="drives that were recorded with --labels flow")
    data.add_argument("--kitti", type=Path, help="KITTI 2015: the folder above training")
    parser.add_argument("--raft", choices=("small", "large", "none"), default="small")
    parser.add_argument("--weights", type=Path, help="of RAFT; downloaded if none are given")
    parser.add_argument("--every", type=int, default=1, help="take every n-th frame of drives")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    source: Source = KittiFlow(options.kitti) if options.kitti else _drives(options.drives, options.every)
    network = None if options.raft == "none" else load_raft(options.raft, options.weights)
    figures = references(source, options.kitti is None, network)
    for name, row in figures.items():
        print(f"{name:20} EPE {row['epe']:7.3f}  Fl {row['fl']:6.2f} %")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


def _drives(root: Path, every: int) -> Drives:
    return Drives(root, baseline=None, every=every)


if __name__ == "__main__":
    main()
