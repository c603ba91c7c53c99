"""Hostile input in short: `python -m scripts.fuzz_town` sends fifty times as much, and broken maps."""

from __future__ import annotations

from mtdrive.envs.town import Town
from scripts.fuzz_messages import Messages
from scripts.fuzz_town import fuzz
from tests.unit.test_town_client import SERVER

MESSAGES = 20_000


def test_hostile_clients_neither_crash_nor_fill_the_server_nor_reach_another_client() -> None:
    with Town("Small", command=SERVER) as town:
        found = fuzz(town, MESSAGES, seed=0, alone=500, maps=8, pause=0.05, quiet=True)
    assert found["faults"] == []
    assert found["messages"] >= MESSAGES
    assert found["witness"]["ticks"] > 50
    assert found["after"]["tasks"] <= found["before"]["tasks"]
    assert min(found["kinds"].values()) > 0


def test_the_same_seed_sends_the_same_messages() -> None:
    first, same, other = Messages(3), Messages(3), Messages(4)
    assert [first.draw() for _ in range(300)] == [same.draw() for _ in range(300)]
    assert first.draw() != other.draw()
