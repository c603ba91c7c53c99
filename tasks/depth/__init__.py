"""Self-supervised depth and ego-motion from video.

Clément Godard, Oisin Mac Aodha, Michael Firman and Gabriel Brostow, "Digging Into Self-Supervised Monocular
Depth Estimation", ICCV 2019, https://arxiv.org/abs/1806.01260 (Monodepth2); Tinghui Zhou et al.,
"Unsupervised Learning of Depth and Ego-Motion from Video", CVPR 2017, https://arxiv.org/abs/1704.07813.
"""

from mtdrive.tasks.depth.photometric import Explainability, Photometric
from mtdrive.tasks.depth.scene import Geometry, Scene, Term
from mtdrive.tasks.depth.smoothness import SecondOrderSmoothness, Smoothness
from mtdrive.tasks.depth.supervision import BerHu, L1Depth, ScaleInvariantLog, Velocity
from mtdrive.tasks.depth.task import Depth

__all__ = [
    "BerHu",
    "Depth",
    "Explainability",
    "Geometry",
    "L1Depth",
    "Photometric",
    "ScaleInvariantLog",
    "Scene",
    "SecondOrderSmoothness",
    "Smoothness",
    "Term",
    "Velocity",
]
