"""Hands drawings to the threads that fill pixels, so that corners of the next are worked out meanwhile.

Mesa's software renderer works out corners in the calling thread. Its other threads fill the pixels of a batch
once it is handed over: of its own accord only when another image is drawn into, or this one is read.

A batch has a fence with a lock in it. The caller frees the fence once all threads have signalled it, which it
looks up without the lock: the last of them may be about to release it, and then writes into freed memory, of
which processes die now and then (`lp_setup_get_empty_scene` and `lp_fence_signal`; seen in Mesa 22.3). An
object for synchronisation holds on to the fence until a later one was signalled: threads do so in turn.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

REACHED = 0x9117
"""OpenGL's `SYNC_GPU_COMMANDS_COMPLETE`."""
SIGNALLED = (0x911A, 0x911C)
"""`ALREADY_SIGNALED` and `CONDITION_SATISFIED`."""
LONGEST = 10**10
"""Nanoseconds to wait; if a batch takes longer, all fences are held on."""


class Pace:
    """The batches of a context, which must be current in each call."""

    def __init__(self, load: Callable[[str], int]) -> None:
        """Take what returns the address of a function of OpenGL."""
        self._fence = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)(load("glFenceSync"))
        self._wait = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint64)(
            load("glClientWaitSync")
        )
        self._drop = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(load("glDeleteSync"))
        self._flush = ctypes.CFUNCTYPE(None)(load("glFlush"))
        self._held: list[int] = []

    def hand_over(self) -> None:
        """Let what was drawn so far be filled; needed before another image is drawn into."""
        self._held.append(self._fence(REACHED, 0))
        self._flush()

    def settle(self) -> None:
        """Wait until all is filled, and let go of the fences that no thread can be at."""
        self.hand_over()
        *passed, last = self._held
        if self._wait(last, 0, LONGEST) in SIGNALLED:
            for fence in passed:
                self._drop(fence)
            self._held = [last]
