"""The calls about the server, the episode and its actors; importing this module fills the whole table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mtdrive.envs.town import calls_moving, calls_scene, calls_walking
from mtdrive.envs.town.batch import apply_batch
from mtdrive.envs.town.blueprints import library
from mtdrive.envs.town.limits import IDS, MANAGERS
from mtdrive.envs.town.rpc import PLAIN, Table
from mtdrive.envs.town.session import Session
from mtdrive.envs.town.stage import Pose
from mtdrive.envs.town.structs import (
    ZERO,
    CallError,
    Msg,
    anything,
    array,
    array_of,
    flag,
    pose,
    read_description,
    text,
    whole,
    word,
    write_box,
    write_pose,
)
from mtdrive.envs.town.world import Settings, read_settings

CALLS = Table({**calls_moving.CALLS, **calls_walking.CALLS, **calls_scene.CALLS})
CALLS.serve(array, flag, wrapper=PLAIN)(apply_batch)


@CALLS.serve()
def version(session: Session) -> str:
    """Return the release that the server speaks."""
    return session.server.wire.release


@CALLS.serve()
def get_available_maps(session: Session) -> list[str]:
    """Return the maps that `load_world` takes."""
    return [f"/Game/Carla/Maps/{name}" for name in session.server.maps.names()]


@CALLS.serve()
def get_episode_info(session: Session) -> Msg:
    """Return the episode and the token of the stream of the world's states."""
    return [session.world.episode, [session.streams.token(session.server.world_stream)]]


@CALLS.serve()
def get_map_info(session: Session) -> Msg:
    """Return the map's name and spawn points."""
    land = session.world.land
    return [f"Carla/Maps/{land.name}", [write_pose(point) for point in land.spawn_points]]


@CALLS.serve()
def get_map_data(session: Session) -> str:
    """Return the OpenDRIVE text."""
    return session.world.land.xodr


@CALLS.serve(word)
def get_required_files(session: Session, folder: str) -> list[str]:
    """Return the files that a client should fetch: the navigation mesh; the map tells it the rest."""
    name = session.server.navigator.name() if folder == "Nav" else ""
    return [name] if name else []


@CALLS.serve()
def get_navigation_mesh(session: Session) -> bytes:
    """Return the mesh for the client's walkers."""
    navigator = session.server.navigator
    return navigator.files.get(navigator.name(), b"")


@CALLS.serve(word)
def request_file(session: Session, name: str) -> bytes:
    """Return a file that the client was told of."""
    files = session.server.navigator.files
    if name not in files:
        raise CallError(f"Town has no file {name}")
    return files[name]


@CALLS.serve()
def get_episode_settings(session: Session) -> Msg:
    """Return how the world runs."""
    return session.world.settings.write()


@CALLS.serve(read_settings)
def set_episode_settings(session: Session, settings: Settings) -> int:
    """Change how the world runs; return the frame from which on it does."""
    masters = session.server.masters
    if settings.synchronous:
        masters.add(session)
    else:
        masters.clear()
    session.server.set_settings(settings)
    return session.world.frame


@CALLS.serve()
def tick_cue(session: Session) -> int:
    """Make a step in synchronous mode and return its frame."""
    return session.tick()


@CALLS.void(word, flag, anything)
def load_new_episode(session: Session, name: str, reset: bool, layers: Any) -> None:
    """Start an episode on a map, the same one where there is no name."""
    land = session.server.maps.choose(name) if name else session.world.land
    if reset:
        session.server.masters.clear()
        session.server.set_settings(Settings())
    session.server.reload(land)


@CALLS.void(text, anything)
def copy_opendrive_to_file(session: Session, xodr: str, parameters: Any) -> None:
    """Keep a map that `load_new_episode` then names OpenDriveMap."""
    session.server.maps.keep(xodr)


@CALLS.serve()
def get_actor_definitions(session: Session) -> list[Msg]:
    """Return the blueprint library."""
    return [blueprint.write() for blueprint in library().values()]


@CALLS.serve()
def get_spectator(session: Session) -> Msg:
    """Return the actor that is everyone's eye."""
    return session.write(session.world.spectator)


@CALLS.serve(array_of(whole, IDS))
def get_actors_by_id(session: Session, ids: Sequence[int]) -> list[Msg]:
    """Return those that live."""
    actors = session.world.actors
    return [session.write(actors[id]) for id in ids if id in actors]


@CALLS.serve(whole)
def get_actor_bounding_box(session: Session, id: int) -> Msg:
    """Return a box relative to the actor, an empty one where there is none.

    As in CARLA: in the step after an actor was destroyed, a client's traffic manager still asks for its box,
    and an error would end that client's process.
    """
    actor = session.world.actors.get(id)
    return actor.box() if actor else write_box(ZERO, ZERO)


@CALLS.serve(read_description, pose)
def spawn_actor(session: Session, description: tuple[str, dict[str, str]], place: Pose) -> Msg:
    """Add an actor."""
    return session.write(session.spawn(*description, place))


@CALLS.serve(read_description, pose, whole)
def spawn_actor_with_parent(
    session: Session, description: tuple[str, dict[str, str]], place: Pose, parent: int
) -> Msg:
    """Add an actor at a place relative to another; spring arms are rigid."""
    return session.write(session.spawn(*description, place, parent))


@CALLS.serve(whole)
def destroy_actor(session: Session, id: int) -> bool:
    """Remove an actor."""
    session.destroy(id)
    return True


@CALLS.serve(whole)
def get_sensor_token(session: Session, stream: int) -> Msg:
    """Return the token of a stream; a listener will come soon."""
    if not session.streams.live(stream):
        raise CallError(f"stream {stream} not found: its sensor was destroyed")
    session.streams.claims.expect(stream, session)
    return [session.streams.token(stream)]


@CALLS.serve(whole)
def is_sensor_enabled_for_ros(session: Session, stream: int) -> bool:
    """Return that there is no ROS."""
    return False


@CALLS.serve(whole)
def is_traffic_manager_running(session: Session, port: int) -> bool:
    """Return whether a client runs a traffic manager at a port."""
    return port in session.server.managers


@CALLS.serve(whole)
def get_traffic_manager_running(session: Session, port: int) -> Msg:
    """Return the address of a traffic manager."""
    return [session.server.managers.get(port, ""), port if port in session.server.managers else 0]


@CALLS.serve(array)
def add_traffic_manager_running(session: Session, info: Sequence[Any]) -> bool:
    """Remember a client's traffic manager; False if there is one at its port."""
    address, port = word(array(info, 2)[0]), whole(info[1])
    if not 0 < port < 1 << 16:
        raise CallError(f"expected a port, found {port}")
    if port in session.server.managers:
        return False
    if len(session.managers) >= MANAGERS:
        raise CallError(f"a client has {MANAGERS} traffic managers at most")
    session.server.managers[port] = address
    session.managers.add(port)
    return True


@CALLS.serve(whole)
def destroy_traffic_manager(session: Session, port: int) -> bool:
    """Forget a traffic manager."""
    session.managers.discard(port)
    return session.server.managers.pop(port, None) is not None


@CALLS.serve(word)
def replay_file(session: Session, *rest: Any) -> str:
    """Refuse."""
    raise CallError("Town has no recorder; record what the sensors send")
