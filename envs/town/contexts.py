"""OpenGL contexts without a display: EGL, OSMesa of the system, or OSMesa of the wheel `lavavu-osmesa`."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
from collections.abc import Callable
from ctypes.util import find_library
from pathlib import Path
from typing import Any, NamedTuple

import moderngl

from mtdrive.errors import ConfigError

ORDER = ("egl", "osmesa", "wheel")
"""The ways to a context, best first: EGL may find a GPU, the others draw on the CPU."""

WHEEL = "lavavu-osmesa"

_OSMESA_NAMES = ("OSMesa", "libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")
_RGBA, _UNSIGNED_BYTE = 0x1908, 0x1401
_ATTRIBUTES = {0x22: _RGBA, 0x30: 24, 0x31: 8, 0x33: 0x34, 0x36: 3, 0x37: 3}
"""OSMesa's format RGBA, depth bits, stencil bits, core profile, version 3.3."""


_BUFFER = (ctypes.c_ubyte * (4 * 8 * 8))()
"""The image of 8 x 8 pixels of every context. Nothing is drawn into it, but Mesa keeps its address as long as
the context lives, which may be longer than any object of Python."""


Load = Callable[[str], int]
"""Returns the address of a function of OpenGL, 0 if there is none."""


class Drawing(NamedTuple):
    """A context, and what goes with it."""

    context: moderngl.Context
    """It is current in the thread that made it."""
    load: Load
    description: str
    """One line that says what draws."""


class OffscreenMesa:
    """A context of OSMesa, in the form that moderngl asks for."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = _declare(library)
        flat = [n for pair in _ATTRIBUTES.items() for n in pair] + [0]
        self._context = library.OSMesaCreateContextAttribs((ctypes.c_int * len(flat))(*flat), None)
        if not self._context:
            raise OSError("OSMesa made no OpenGL 3.3 core context")
        self.__enter__()

    def load_opengl_function(self, name: str) -> int:
        """Return the address of a function of OpenGL, 0 if there is none."""
        return int(self._library.OSMesaGetProcAddress(name.encode()) or 0)

    load = load_opengl_function  # its name in earlier versions of moderngl

    def __enter__(self) -> OffscreenMesa:
        if not self._library.OSMesaMakeCurrent(self._context, _BUFFER, _UNSIGNED_BYTE, 8, 8):
            raise OSError("OSMesa's context cannot be made current")
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it current: nothing else draws in this thread without entering its own context."""

    def release(self) -> None:
        """Destroy the context."""
        if self._context:
            self._library.OSMesaDestroyContext(self._context)
            self._context = None


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """State the signatures: without them ctypes would cut addresses to 32 bits."""
    pointer = ctypes.c_void_p
    for name, result, arguments in (
        ("OSMesaCreateContextAttribs", pointer, [pointer, pointer]),
        ("OSMesaGetProcAddress", pointer, [ctypes.c_char_p]),
        ("OSMesaMakeCurrent", ctypes.c_ubyte, [pointer, pointer, ctypes.c_uint, ctypes.c_int, ctypes.c_int]),
        ("OSMesaDestroyContext", None, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _system_library() -> ctypes.CDLL:
    for name in _OSMESA_NAMES:
        if library := _opened(find_library(name) or name):
            return library
    raise OSError("the system has no libOSMesa")


def _opened(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _wheel_library() -> ctypes.CDLL:
    """Load OSMesa and what it needs out of the wheel.

    The wheel records no path to its parts, so each is loaded first; those whose own needs are not there yet
    wait for the next round. Their symbols stay private: the wheel brings its own LLVM, libffi and zstd, which
    libraries that are loaded later must not take for theirs.
    """
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise OSError(f"{WHEEL} is not installed") from error
    waiting = sorted(Path(str(f.locate())) for f in files if ".so" in f.name and f.parts[0].endswith(".libs"))
    loaded: dict[Path, ctypes.CDLL] = {}
    for _ in range(len(waiting)):
        for path in [p for p in waiting if p not in loaded]:
            if library := _opened(str(path)):
                loaded[path] = library
                if path.name.startswith("libOSMesa"):
                    return library
    raise OSError(f"{WHEEL} holds no libOSMesa that can be loaded")


def _egl() -> tuple[moderngl.Context, Load]:
    if not (name := find_library("EGL")):
        raise OSError("the system has no libEGL")
    settings: dict[str, Any] = {"backend": "egl", "libegl": name, "libgl": find_library("GL") or "libGL.so.1"}
    context = moderngl.create_context(require=330, standalone=True, **settings)
    load = ctypes.CDLL(name).eglGetProcAddress
    load.restype, load.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    return context, lambda function: load(function.encode()) or 0


def _offscreen(library: Callable[[], ctypes.CDLL]) -> tuple[moderngl.Context, Load]:
    mesa = OffscreenMesa(library())
    own: dict[str, Any] = {"context": mesa}
    return moderngl.create_context(require=330, **own), mesa.load_opengl_function


_MAKERS: dict[str, Callable[[], tuple[moderngl.Context, Load]]] = {
    "egl": _egl,
    "osmesa": lambda: _offscreen(_system_library),
    "wheel": lambda: _offscreen(_wheel_library),
}


def create(way: str | None = None) -> Drawing:
    """Return a context.

    Args:
        way: one of `ORDER`; None takes what the variable `MTDRIVE_GL` names, or else the first that works.

    Raises:
        ConfigError: if none works; it says why, and what to install.
    """
    way = way or os.environ.get("MTDRIVE_GL") or None
    if way not in (None, *ORDER):
        raise ConfigError(f"MTDRIVE_GL: expected one of {', '.join(ORDER)}, found {way!r}")
    failures = []
    for name in (way,) if way else ORDER:
        try:
            context, load = _MAKERS[name]()
        except Exception as error:  # drivers raise whatever they like, and the next may work
            failures.append(f"{name}: {error}")
            continue
        return Drawing(context, load, _describe(name, context))
    raise ConfigError(
        f"nothing here can draw ({'; '.join(failures)}); run `pip install {WHEEL}`, or install the system's "
        "packages libegl1 and libgl1-mesa-dri"
    )


def _describe(name: str, context: moderngl.Context) -> str:
    info: dict[str, Any] = context.info
    return f"{name}: {info['GL_RENDERER']}, OpenGL {info['GL_VERSION']}"
