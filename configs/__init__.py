"""Configurations that ship with mtdrive: runs, published systems and their deltas."""

if __name__ == "configs":
    raise ImportError("import mtdrive.configs, not configs")
