"""Driving environments."""

if __name__ == "envs":
    raise ImportError("import mtdrive.envs, not envs")
