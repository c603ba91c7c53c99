"""Optical flow between two frames, from the shared features of both.

The network is a small PWC-Net: Deqing Sun, Xiaodong Yang, Ming-Yu Liu and Jan Kautz, "PWC-Net: CNNs for
Optical Flow Using Pyramid, Warping, and Cost Volume", CVPR 2018, https://arxiv.org/abs/1709.02371. The loss
without labels is that of UnFlow: Simon Meister, Junhwa Hur and Stefan Roth, "UnFlow: Unsupervised Learning of
Optical Flow with a Bidirectional Census Loss", AAAI 2018, https://arxiv.org/abs/1711.07837.
"""

from mtdrive.tasks.flow.pair import Fields, FlowTerm, Pair
from mtdrive.tasks.flow.task import Flow
from mtdrive.tasks.flow.terms import Census, FlowPhotometric, FlowSmoothness, KnownFlow

__all__ = [
    "Census",
    "Fields",
    "Flow",
    "FlowPhotometric",
    "FlowSmoothness",
    "FlowTerm",
    "KnownFlow",
    "Pair",
]
