"""The tasks that ship with mtdrive."""

if __name__ == "tasks":
    raise ImportError("import mtdrive.tasks, not tasks")
