"""Record the calls that the real client makes.

python -m scripts.town_traffic [tests/golden/town_calls.json]

Scenarios of the tests run against Town, and what they send is kept: of every call, up to three that differ.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from mtdrive.envs.servers import free_port
from mtdrive.envs.town import Town
from mtdrive.envs.town.requests import Requests
from mtdrive.files import write_atomically
from tests.town_walkers import PAVED

ROOT = Path(__file__).parents[1]
FILE = ROOT / "tests" / "golden" / "town_calls.json"
SCENARIOS = ("sweep", "all_sensors", "manage", "maps", "run_over")
KEPT, LONGEST = 3, 4000
"""Calls of a name that are kept, and the characters that one may have."""


class Recorder:
    """Stands between a client and a server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.calls: dict[str, list[Any]] = defaultdict(list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on all bytes, and note the requests."""
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        requests = Requests()

        async def out() -> None:
            while data := await reader.read(1 << 16):
                requests.feed(data)
                while request := requests.next():
                    self._note(request.name, request.arguments)
                back.write(data)
            back.close()

        async def home() -> None:
            while data := await there.read(1 << 16):
                writer.write(data)
            writer.close()

        await asyncio.gather(out(), home(), return_exceptions=True)

    def _note(self, name: str, arguments: Any) -> None:
        kept = self.calls[name]
        if len(kept) < KEPT and arguments not in kept and len(json.dumps(arguments)) < LONGEST:
            kept.append(arguments)


async def _scenario(name: str, recorder: Recorder) -> None:
    proxy = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    command = [sys.executable, "-m", "tests.town_client", name, str(port), str(free_port())]
    client = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL)
    if await client.wait():
        raise SystemExit(f"the scenario {name} failed")
    proxy.close()


def record() -> dict[str, list[Any]]:
    """Return what the real client sends, by the names of the calls."""
    with tempfile.TemporaryDirectory() as folder:
        street = Path(folder, "street.xodr")
        street.write_text(PAVED)
        with Town(xodr=street, command=(sys.executable, "-m", "tests.town_painter")) as town:
            recorder = Recorder(town.port)
            for name in SCENARIOS:
                asyncio.run(_scenario(name, recorder))
    return dict(sorted(recorder.calls.items()))


if __name__ == "__main__":
    found = record()
    lines = (f"{json.dumps(name)}: {json.dumps(calls)}" for name, calls in found.items())
    path = Path(sys.argv[1]) if sys.argv[1:] else FILE
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    write_atomically(path, text.encode())
