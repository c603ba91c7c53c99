"""Where a command computes."""

from __future__ import annotations

from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException

from mtdrive.errors import ConfigError


def make_fabric(accelerator: str, **settings: Any) -> Fabric:
    """Return lightning-fabric's launcher.

    Args:
        accelerator: `auto`, `cpu` or `cuda`.
        settings: of `Fabric`.

    Raises:
        ConfigError: if this machine lacks the accelerator.
    """
    try:
        return Fabric(accelerator=accelerator, **settings)
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"accelerator {accelerator!r} cannot be used here ({reason}); take auto") from error
