"""The command line. Commands import what they need when they run, so that help is quick."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mtdrive.commands import (
    Command,
    conformance,
    demo,
    drive,
    evaluate,
    export,
    frames,
    importing,
    inspect,
    maps,
    predict,
    record,
    score,
    split,
    town,
    train,
)
from mtdrive.errors import MtdriveError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0 if it finished, 1 for an error that the user can mend, 128 and the signal's number if one ended it.
    """
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_settings:
        parser.error(f"unrecognised arguments: {' '.join(rest)}")
    command: Command = options.command
    try:
        return command(options, rest) or 0
    except MtdriveError as error:
        sys.stderr.write(f"mtdrive: error: {error}\n")
        return 1
    except OSError as error:  # a full disk, a folder without permission
        sys.stderr.write(f"mtdrive: error: {error.filename or 'a file'}: {error.strerror or error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="mtdrive",
        description="Train end-to-end driving policies with auxiliary tasks on one shared encoder.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (
        train,
        evaluate,
        predict,
        score,
        split,
        importing,
        frames,
        town,
        maps,
        record,
        drive,
        inspect,
        export,
        conformance,
        demo,
    ):
        command.add(commands)
    return parser
