"""Driving environments; importing this registers `mtdrive/Drive-v0` with Gymnasium."""

import gymnasium

if __name__ == "envs":
    raise ImportError("import mtdrive.envs, not envs")

gymnasium.register("mtdrive/Drive-v0", "mtdrive.envs.driving_env:DrivingEnv")
