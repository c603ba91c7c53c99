"""Errors that a user can mend; each says what was expected, what was found and what to do."""

from __future__ import annotations

from collections.abc import Mapping


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


class SimulatorError(MtdriveError, RuntimeError):
    """A simulator did not start, stopped, or does not answer."""


class AgentError(MtdriveError, RuntimeError):
    """An agent raises, gives something else than an action, or takes too long."""


class TaskError(MtdriveError, ValueError):
    """A task breaks the contract of `mtdrive.task.Task`."""


def check_least(name: str, settings: object, least: Mapping[str, float]) -> None:
    """Check that settings are not too small; None stands for no setting.

    Raises:
        ConfigError: names the first that is.
    """
    for key, bound in least.items():
        value = getattr(settings, key)
        if value is not None and value < bound:
            raise ConfigError(f"{name}.{key} must be at least {bound}, found {value}")
