"""Servers of our own, of others, and what is no server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgpack
import pytest

from mtdrive.envs import servers
from mtdrive.envs.health import Server, ServerSettings
from mtdrive.envs.line import Line
from mtdrive.envs.servers import free_port, open_server
from mtdrive.envs.town import Town
from mtdrive.errors import ConfigError, SimulatorError

TOWN = (sys.executable, "-m", "mtdrive", "town", "--town", "Small")
QUICK = (sys.executable, str(Path(__file__).parents[1] / "answering_server.py"))
Reply = Callable[[bytes], bytes | None]


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def listener() -> Iterator[Callable[[Reply], str]]:
    """Servers that answer each request with some bytes, or hang up where there are none."""
    sockets: list[socket.socket] = []

    def listen(reply: Reply) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        sockets.append(server)

        def serve() -> None:
            with server.accept()[0] as client:
                while data := client.recv(1 << 16):
                    answer = reply(data)
                    if answer is None:
                        return
                    client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield listen
    for server in sockets:
        server.close()


def version(release: str) -> Reply:
    return lambda data: bytes(msgpack.packb([1, msgpack.unpackb(data)[1], None, [[1, release]]]))


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (version("0.9.15"), r"is CARLA 0\.9\.15, the client 0\.9\.16; install carla==0\.9\.15"),
        (lambda data: b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no CARLA server"),
        (lambda data: msgpack.packb({"version": "0.9.16"}), "is no CARLA server"),
        (lambda data: None, "hung up during version"),
        (lambda data: msgpack.packb([1, 1, "no such function", None]), "refused version: no such function"),
        (lambda data: msgpack.packb([1, 1, None, [[0, ["busy"]]]]), "refused version: busy"),
        (lambda data: msgpack.packb([1, 1, None, [[1, 916]]]), "is CARLA 916"),
    ],
)
def test_a_server_of_another_kind_or_release_is_refused_before_the_client_sees_it(
    listener: Callable[[Reply], str], reply: Reply, words: str
) -> None:
    with pytest.raises(SimulatorError, match=words) as raised, open_server(listener(reply)):
        pass
    assert "\n" not in str(raised.value)


def test_a_release_with_the_name_of_a_build_is_the_same_release(listener: Callable[[Reply], str]) -> None:
    with open_server(listener(version("0.9.16-12-gabcdef"))) as server:
        assert server.alive


def test_a_reply_that_comes_in_pieces_or_too_late_does_not_confuse_the_line(
    listener: Callable[[Reply], str],
) -> None:
    def reply(data: bytes) -> bytes:
        _, id, name, _ = msgpack.unpackb(data)
        if name == "slow":
            return b""
        late = msgpack.packb([1, id - 1, None, [[1, "late"]]])
        return bytes(late + msgpack.packb([1, id, None, [[1, "0.9.16"]]]))

    with open_server(listener(reply)) as server:
        with pytest.raises(SimulatorError, match="did not answer slow in time"):
            server.line.call("slow", patience=0.2)
        assert server.line.call("version") == "0.9.16"


def test_what_is_no_server_at_all_is_one_clear_line() -> None:
    with pytest.raises(SimulatorError, match=r"no server answers at 127\.0\.0\.1:1 \(Connection refused\)"):
        open_server("127.0.0.1:1").__enter__()
    for name in ("towns", "localhost", "localhost:0", "localhost:70000"):
        with pytest.raises(ConfigError, match="must be town, carla or host:port"):
            open_server(name)


def test_ports_that_are_taken_are_not_given_out() -> None:
    port = free_port(3)
    with socket.create_server(("127.0.0.1", port + 2)):
        assert free_port(3) != port
    assert free_port(1, avoid=range(1 << 16, 0, -2)) % 2 == 1


def test_a_dead_town_is_noticed_at_once_and_starts_anew_at_another_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "Town", partial(Town, command=QUICK))
    with open_server(ServerSettings(pause=0.1), "Small") as server:
        port = server.port
        os.kill(pid_of(server), signal.SIGKILL)
        wait_until(lambda: not server.alive)
        begun = time.monotonic()
        with pytest.raises(SimulatorError, match=r"hung up during version|died during version"):
            server.line.call("version")
        assert time.monotonic() - begun < 1
        server.restart()
        assert server.alive
        assert server.port != port
        pid = pid_of(server)
    assert not runs(pid)


def test_pauses_grow_with_crashes_in_a_row_and_a_restart_gives_up_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)

    class Broken(Server):
        starts = 0

        def _launch(self) -> None:
            self.starts += 1
            if self.starts not in (1, 2, 5):
                raise SimulatorError(f"start {self.starts} failed")

        def _connect(self) -> Line:
            return Line("127.0.0.1", port, 1.0, self.runs)

        def runs(self) -> bool:
            return True

        def _kill(self, at_once: bool) -> None: ...

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with Broken(ServerSettings(pause=0.5, attempts=3)) as server:
            server.restart()
            assert pauses == [0.5]
            server.restart()
            assert pauses == [0.5, 1.0, 2.0, 4.0]
            with pytest.raises(SimulatorError, match="start 8 failed"):
                server.restart()
            assert pauses[4:] == [2.0, 4.0, 8.0]
            assert not server.alive


def pid_of(server: Server) -> int:
    return int(server._town.process.pid)  # type: ignore[attr-defined]


def test_servers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    write_script(tmp_path, " ".join(QUICK) + " --port $port")
    code = f"""
        import sys
        from functools import partial
        from mtdrive.envs import servers
        from mtdrive.envs.servers import open_server
        servers.Town = partial(servers.Town, command={QUICK})
        with open_server("town", "Small") as town, open_server("carla") as carla:
            print(town._town.process.pid, carla._process.pid, flush=True)
            sys.stdin.read()
    """
    environment = {**os.environ, "CARLA_ROOT": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        town, guard = map(int, process.stdout.readline().split())
        simulator = int((tmp_path / "pid").read_text())
        assert runs(town)
        assert runs(simulator)
        process.kill()
    wait_until(lambda: not (runs(town) or runs(guard) or runs(simulator)), 20)


def write_script(folder: Path, command: str) -> None:
    """Write a start script that leaves a simulator behind if only the script is ended, as CARLA's does."""
    script = folder / "CarlaUE4.sh"
    script.write_text(
        "#!/bin/sh\necho $@ > $(dirname $0)/arguments\n"
        "for argument in $@; do case $argument in -carla-rpc-port=*) port=${argument#*=};; esac; done\n"
        f"{command} &\necho $! > $(dirname $0)/pid\nwait $!\n"
    )
    script.chmod(0o755)


def test_carla_is_started_by_its_script_and_ended_with_all_that_it_started(tmp_path: Path) -> None:
    write_script(tmp_path, " ".join(TOWN) + " --port $port")
    settings = ServerSettings("carla", root=str(tmp_path), flags=("-quality-level=Low",), pause=0.1)
    with open_server(settings) as server:
        first = server.port
        assert (tmp_path / "arguments").read_text() == f"-quality-level=Low -carla-rpc-port={first}\n"
        assert server.line.call("version") == "0.9.16"
        simulator = int((tmp_path / "pid").read_text())
        os.kill(simulator, signal.SIGSTOP)  # it hangs
        with pytest.raises(SimulatorError, match="did not answer version in time; it hangs"):
            server.line.call("version", patience=0.3)
        write_script(tmp_path, " ".join(QUICK) + " --port $port")
        server.restart()
        assert server.port != first
        assert not runs(simulator)
        simulator = int((tmp_path / "pid").read_text())
        assert server.alive
    assert not runs(simulator)


def test_a_carla_that_does_not_start_says_what_it_said_last(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=f"expected CARLA's folder with CarlaUE4.sh in CARLA_ROOT, found {tmp_path}"
    ):
        open_server(ServerSettings("carla", root=str(tmp_path)))
    write_script(tmp_path, "(echo Vulkan driver is missing; exit 3)")
    with pytest.raises(SimulatorError, match=r"CARLA did not start: Vulkan driver is missing; .* status 3"):
        open_server(ServerSettings("carla", root=str(tmp_path))).__enter__()
