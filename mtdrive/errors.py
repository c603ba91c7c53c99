"""Errors that a user can mend; each says what was expected, what was found and what to do."""


class MtdriveError(Exception):
    """The root of the family; the command prints its message as one line, without a traceback."""


class DataError(MtdriveError, ValueError):
    """A file or folder of a data set is missing, damaged or contradicts another."""


class ConfigError(MtdriveError, ValueError):
    """A setting is misspelt, of the wrong type, or does not fit the others."""


class CheckpointError(MtdriveError, ValueError):
    """A checkpoint is missing, damaged or belongs to another architecture."""


class TrainingError(MtdriveError, RuntimeError):
    """Training cannot go on: a loss is not finite, or the disk is full."""


class TaskError(MtdriveError, ValueError):
    """A task breaks the contract of `mtdrive.task.Task`."""
