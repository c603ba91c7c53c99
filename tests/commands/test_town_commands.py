"""`mtdrive town` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtdrive.cli import main
from mtdrive.envs.town import Town
from mtdrive.errors import SimulatorError
from tests.town_land import XODR

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "street.xodr"
    path.write_text(XODR)
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_says_where_it_listens_and_stops_cleanly(street: Path, number: int) -> None:
    with Town(xodr=street) as server:
        with socket.create_connection((server.host, server.port), timeout=10):
            server.process.send_signal(number)
            assert server.process.wait(30) == 0
        assert server.log() == ""
        assert not server.alive


def test_a_client_sees_the_town_and_its_own_car() -> None:
    with Town("Small") as server:
        command = [sys.executable, "-m", "tests.town_client", "look", str(server.port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(done.stdout)
    assert found["contrast"] > 20
    assert {1, 11, 14} <= set(found["tags"])  # road, sky, car
    assert found["mine"] > 0.02
    assert found["tag"] == [14]
    assert 3 < found["distance"] < 9


def test_numpy_has_one_thread_in_the_server_so_that_culling_does_not_wait_for_cores_that_draw() -> None:
    code = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'numpy':\n"
        "            print(os.environ.get('OPENBLAS_NUM_THREADS'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "from mtdrive.cli import main\n"
        "main(['town', '--port', '-1'])\n"
    )
    given = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert "--port must be 0 to 65535" in done.stderr
    assert done.stdout.split() == ["1"]


def test_the_server_ends_with_the_process_that_started_it(street: Path) -> None:
    code = (
        "import os, sys\n"
        "from mtdrive.envs.town import Town\n"
        f"server = Town(xodr={str(street)!r}).__enter__()\n"
        "print(server.port, flush=True)\n"
        "os._exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    port = int(done.stdout)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.1)
    pytest.fail("the server outlived its parent")


def test_a_port_that_is_taken_is_one_clear_line(street: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(SimulatorError, match=f"port {port}.*choose another"),
            Town(xodr=street, port=port),
        ):
            pass


def test_a_map_that_is_not_there_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["town", "--xodr", "/nowhere/map.xodr", "--port", "0"]) == 1
    assert capsys.readouterr().err == "mtdrive: error: --xodr: there is no file /nowhere/map.xodr\n"
    assert main(["town", "--town", "Atlantis", "--port", "0"]) == 1
    assert "Atlantis" in capsys.readouterr().err
    assert main(["town", "--port", "70000"]) == 1
    assert "70000" in capsys.readouterr().err


def test_clients_of_a_release_that_is_not_served_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from mtdrive.envs.town import serve

    monkeypatch.setattr(serve, "installed_client", lambda: "0.9.15")
    with pytest.raises(ValueError, match=r"0\.9\.16, found 0\.9\.15; install carla==0\.9\.16"):
        serve.check_client()
