"""Driving policies: what an image, the speed and the planner's command say about where to go.

Felipe Codevilla et al., "End-to-end Driving via Conditional Imitation Learning", ICRA 2018,
https://arxiv.org/abs/1710.02410 (a branch a command), and "Exploring the Limitations of Behavior Cloning for
Autonomous Driving", ICCV 2019, https://arxiv.org/abs/1904.08980 (the speed branch); Dian Chen et al.,
"Learning by Cheating", CoRL 2019, https://arxiv.org/abs/1912.12294, and Kashyap Chitta et al.,
"TransFuser", PAMI 2022, https://arxiv.org/abs/2205.15997 (waypoints, one after another by a GRU).
"""

from mtdrive.tasks.policy.control import Control, Creep
from mtdrive.tasks.policy.picture import Lens, draw_way
from mtdrive.tasks.policy.task import Plan, Policy

__all__ = ["Control", "Creep", "Lens", "Plan", "Policy", "draw_way"]
