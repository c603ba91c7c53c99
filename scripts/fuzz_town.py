"""Send Town what no client should, next to a client that behaves.

Usage: python -m scripts.fuzz_town [--messages 1000000] [--seed 0] [--alone 20000] [--maps 200] [--out FILE]

Both ports of a running server get random and damaged messages: calls of the real client with other values,
of wrong shape, with broken bytes, nested, too long, half; from connections that read their replies, never
read, send a byte at a time, or say nothing; on the port of the streams also wrong ids, and listeners that
never read. Meanwhile `scripts.fuzz_witness`, the real client, ticks and checks that nothing reaches it.

A message counts when the kernel has taken it. Before it is sent, the server's own reader looks at what the
connection then holds. What would be a good call to act on the other client is withheld and counted apart: one
that names one of its actors, steps the world, changes its settings or loads a map. One actor of the other
client is bait: every hundredth id that is drawn is its own, and what is done to it is not looked at.

Then the other client leaves, and some more are sent of which none is withheld. At last broken maps are
loaded, one after the other. The result is printed as JSON; the status is 1 if the
server died, wrote a traceback, grew, kept something, or if the other client saw anything.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mtdrive.envs.town import Town
from scripts.fuzz_caller import HOST, Caller, Refused
from scripts.fuzz_maps import load_broken
from scripts.fuzz_messages import Messages, pack
from scripts.fuzz_posts import Post

ROOT = Path(__file__).parents[1]
LINES, LISTENERS = 20, 12
"""Connections that are open at once."""
LIFE = 60
"""Messages of a connection, in the middle."""
TIDY = 2000
"""Messages after which the fuzzer's actors are removed, and memory is read."""
CROWD = 150
"""Connections of a crowd, which comes now and then."""
GROWTH = 64.0
"""MB that the memory may grow after the first tenth."""


class Fuzzer:
    """Sends messages to a server."""

    def __init__(self, port: int, seed: int, other: dict[str, Any]) -> None:
        self.port, self.messages = port, Messages(seed)
        self.random = self.messages.random
        self.guarded: frozenset[int] | None = frozenset(other["guarded"])
        self.messages.bait = other["bait"]
        self.caller = Caller(port)
        token = self.caller.call("get_episode_info")[1][0]
        self.world, self.stream_port = struct.unpack_from("<IH", token)
        theirs = self.caller.call("get_actors_by_id", [other["camera"]])[0][5]
        self.streams = [self.world, struct.unpack_from("<I", theirs)[0]]
        self._first = self._clean = max(*other["guarded"], other["bait"]) + 1
        self.counts: Counter[str] = Counter()
        self.sent = 0
        self._posts: list[Post] = []
        self._ears: list[socket.socket] = []

    def run(self, count: int, report: Callable[[], None]) -> None:
        """Send so many messages; report every now and then."""
        while self.sent < count:
            self.tidy()
            report()
            goal = min(count, self.sent + TIDY)
            while self.sent < goal:
                draw = self.random.random()
                if draw < 0.04:
                    self._listen()
                elif draw < 0.0405:
                    self._crowd()
                else:
                    self._post()
        while self._posts:
            self._posts.pop().part()
        while self._ears:
            self._ears.pop().close()
        self.tidy()

    def free(self) -> None:
        """Have nobody to mind: nothing is withheld any more."""
        self.guarded, self.messages.bait = None, 0
        self._first = self._clean = 1

    def tidy(self) -> None:
        """Remove the fuzzer's actors, and make sensors to listen to."""
        self._destroy(self._clean, self._clean + 4000)
        newest = self._spawn("controller.ai.walker")[0]
        self._destroy(self._clean, newest + 1)
        camera = self._spawn("sensor.camera.rgb", ["image_size_x", 2, "64"], ["image_size_y", 2, "48"])
        imu = self._spawn("sensor.other.imu")
        self.streams[2:] = [struct.unpack_from("<I", actor[5])[0] for actor in (camera, imu)]
        self._clean = 1 if self.guarded is None else newest + 1  # a new episode begins with 1
        self.messages.actors = range(self._first, imu[0] + 40)

    def _spawn(self, kind: str, *attributes: list[Any]) -> Any:
        return self.caller.call("spawn_actor", [0, kind, list(attributes)], [[0.0, 0.0, 5.0], [0.0] * 3])

    def _destroy(self, start: int, stop: int) -> None:
        for first in range(start, stop, 4000):
            self.caller.destroy(range(first, min(first + 4000, stop)))

    def _post(self) -> None:
        """Send a message on the control port."""
        if len(self._posts) < LINES:
            manner = self.random.choices(("reads", "deaf", "slow", "silent"), (70, 14, 8, 8))[0]
            self._posts.append(Post(self.port, manner))
        post = self.random.choice(self._posts)
        kind, message = self.messages.draw()
        over = self.random.random() < 1 / LIFE
        if post.manner != "silent" and not (post.manner == "slow" and len(message) > 400):
            if post.would(message, self.guarded):
                self.counts["withheld"] += 1
                over = post.broken = True
            elif post.send(message):
                self.counts[kind] += 1
                self.sent += 1
            else:
                over = post.broken = True
        if over or post.broken:
            self._posts.remove(post)
            post.part()
        self.random.choice(self._posts or [post]).drain()

    def _listen(self) -> None:
        """Connect to the port of the streams and say something; some never read."""
        ear = socket.create_connection((HOST, self.stream_port), 30)
        with contextlib.suppress(OSError):
            ear.sendall(self.messages.stream(self.streams))
        ear.setblocking(False)
        self._ears.append(ear)
        self.counts["stream"] += 1
        self.sent += 1
        while len(self._ears) > LISTENERS:
            self._ears.pop(self.random.randrange(len(self._ears))).close()
        for one in self._ears[::2]:
            with contextlib.suppress(OSError):
                one.recv(1 << 20)

    def _crowd(self) -> None:
        """Come with many connections at once, some of which say something."""
        crowd = []
        for _ in range(CROWD):
            with contextlib.suppress(OSError):
                one = socket.create_connection((HOST, self.random.choice((self.port, self.stream_port))), 5)
                if self.random.random() < 0.3:
                    one.send(self.random.choice((b"\x94\0", b"\xc1", pack([0, 1, "version", [[False]]]))))
                    self.sent += 1
                crowd.append(one)
        for one in crowd:
            one.close()
        self.counts["crowds"] += 1


class Watch:
    """Reads what the server takes of the machine."""

    def __init__(self, town: Town, quiet: bool) -> None:
        self._town, self._quiet = town, quiet
        self._pid, self._begun = town.process.pid, time.monotonic()
        self.memory: list[float] = []

    def look(self, fuzzer: Fuzzer, goal: int) -> None:
        """Note the memory, and say how far the fuzzer is."""
        self.memory.append(self.state()["MB"])
        if not self._quiet:
            rate = fuzzer.sent / (time.monotonic() - self._begun)
            left = (goal - fuzzer.sent) / max(rate, 1e-9)
            sys.stderr.write(
                f"{fuzzer.sent} messages, {rate:.0f}/s, {self.memory[-1]:.0f} MB, {left / 60:.0f} min left\n"
            )

    def state(self) -> dict[str, float]:
        """Return memory, threads and open files."""
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        values = dict(line.split(":", 1) for line in lines)
        files = len(list(Path(f"/proc/{self._pid}/fd").iterdir()))
        return {
            "MB": int(values["VmRSS"].split()[0]) / 1e3,
            "threads": int(values["Threads"]),
            "files": files,
        }


def fuzz(
    town: Town, count: int, seed: int, alone: int, maps: int, pause: float = 0.02, quiet: bool = False
) -> dict[str, Any]:
    """Return what came of it."""
    with subprocess.Popen(
        [sys.executable, "-m", "scripts.fuzz_witness", str(town.port), str(pause)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ) as witness:  # fmt: skip
        assert witness.stdin is not None
        assert witness.stdout is not None
        fuzzer = Fuzzer(town.port, seed, json.loads(witness.stdout.readline()))
        watch = Watch(town, quiet)
        before, begun = {**watch.state(), **counted(fuzzer.caller)}, time.monotonic()
        fuzzer.run(count, lambda: watch.look(fuzzer, count))
        seconds = time.monotonic() - begun
        print("stop", file=witness.stdin, flush=True)
        witness.stdout.readline()
        time.sleep(1)
        after = {**watch.state(), **counted(fuzzer.caller)}
        print("end", file=witness.stdin, flush=True)
        seen = json.loads(witness.stdout.readline() or "{}")
        found = {
            "messages": fuzzer.sent, "seconds": seconds, "messages a second": fuzzer.sent / seconds,
            "kinds": dict(fuzzer.counts), "before": before, "after": after, "memory MB": watch.memory,
            "witness": seen, "witness ended with": witness.wait(60),
        }  # fmt: skip
    if alone:
        fuzzer.free()
        fuzzer.run(fuzzer.sent + alone, lambda: watch.look(fuzzer, count + alone))
        found["without the other client"] = watch.state()
    fuzzer.caller.close()
    if maps:
        found["maps"] = load_broken(town.port, maps, seed)
        found["at last"] = watch.state()
    found["server lived"] = town.alive
    log = town.log().splitlines()
    found["log lines"] = len(log)
    found["tracebacks"] = [log[i - 1 : i + 40] for i, line in enumerate(log) if line.startswith("Traceback")]
    found["faults"] = list(faults(found))
    return found


def counted(caller: Caller) -> dict[str, int]:
    """Return what the server counts, if it is the one of the tests."""
    try:
        return dict(caller.raw("count_all")[0][1])
    except Refused:
        return {}


def faults(found: dict[str, Any]) -> Iterator[str]:
    """Give what is not as it should be."""
    seen, before, after = found["witness"], found["before"], found["after"]
    if not found["server lived"]:
        yield "the server died"
    if found["tracebacks"]:
        yield f"{len(found['tracebacks'])} tracebacks"
    if found["witness ended with"] or seen.get("errors", ["none"]):
        yield "the other client was disturbed"
    if seen.get("the same") != seen.get("repeated alone"):
        yield "the other client's car did not drive as it does alone"
    memory = found["memory MB"]
    if max(memory) - memory[len(memory) // 10] > GROWTH:
        yield "the memory grew"
    kept = [name for name in before if name != "MB" and after[name] > before[name] + 4]
    if kept:
        yield f"something is kept: {', '.join(kept)}"


def main() -> None:
    """Run as the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alone", type=int, default=20_000, help="without the other client (default: 20000)")
    parser.add_argument("--maps", type=int, default=200, help="broken maps (default: 200)")
    parser.add_argument("--town", default="Small")
    parser.add_argument("--out", type=Path, help="a file for the result")
    options = parser.parse_args()
    with Town(options.town) as town:
        found = fuzz(town, options.messages, options.seed, options.alone, options.maps)
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
    if found["faults"]:
        raise SystemExit("; ".join(found["faults"]))


if __name__ == "__main__":
    main()
