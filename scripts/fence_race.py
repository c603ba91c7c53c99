"""Shows why processes that draw with Mesa on a CPU die now and then, and that holding on to fences ends it.

Usage: python -m scripts.fence_race [--processes 20] [--rounds 1000] [--delay 100]

Each process draws into three small images in turn, half of them with `mtdrive.envs.town.pacing`. A library
that is loaded first lets the threads that fill pixels wait, in microseconds, before they release a lock: so
what else takes nanoseconds becomes likely, and nothing else changes. Printed is how the processes ended. It
needs a C compiler as `cc`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import moderngl
import numpy as np

from mtdrive.envs.town import contexts
from mtdrive.envs.town.pacing import Pace

SLOW = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <threads.h>
#include <unistd.h>

static void wait_if_filling(void) {
    static __thread int filling = -1;
    if (filling < 0) {
        char name[17] = {0};
        prctl(PR_GET_NAME, name);
        filling = strncmp(name, "llvmpipe-", 9) == 0;
    }
    if (filling) usleep(atoi(getenv("DELAY")));
}

int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    static int (*real)(pthread_mutex_t *);
    if (!real) real = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
    wait_if_filling();
    return real(mutex);
}

int mtx_unlock(mtx_t *mutex) {
    static int (*real)(mtx_t *);
    if (!real) real = dlsym(RTLD_NEXT, "mtx_unlock");
    wait_if_filling();
    return real(mutex);
}
"""
VERTEX = "#version 330\nin vec2 corner; void main() { gl_Position = vec4(corner, 0, 1); }"
FRAGMENT = "#version 330\nout vec4 seen; void main() { seen = vec4(gl_FragCoord.xy * 0.001, 0, 1); }"
IMAGES, SIDE, TRIANGLES = 3, 64, 2000


def draw(rounds: int, held: bool) -> None:
    """Draw, and read the last image of each round."""
    context, load, _ = contexts.create()
    pace, rng = Pace(load), np.random.default_rng(0)
    places = rng.uniform(-1, 1, (TRIANGLES, 1, 2)) + rng.uniform(-0.02, 0.02, (TRIANGLES, 3, 2))
    program = context.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
    corners = context.buffer(places.astype("<f4").tobytes())
    array = context.vertex_array(program, [(corners, "2f4", "corner")])
    frames = [context.framebuffer([context.texture((SIDE, SIDE), 4)]) for _ in range(IMAGES)]
    for _ in range(rounds):
        for frame in frames:
            frame.use()
            frame.clear()
            array.render(moderngl.TRIANGLES, vertices=3 * int(rng.integers(10, TRIANGLES)))
            if held:
                pace.hand_over()
        frames[-1].read()
        if held:
            pace.settle()


def main() -> None:
    """Run the processes and count how they end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", type=int, default=20, help="of each kind")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--delay", type=int, default=100, help="microseconds")
    parser.add_argument("--draw", choices=["plain", "held"], help="be one of the processes")
    options = parser.parse_args()
    if options.draw:
        draw(options.rounds, options.draw == "held")
        return
    ends: dict[str, Counter[int]] = {"plain": Counter(), "held": Counter()}
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "slow.c"), Path(folder, "slow.so")
        source.write_text(SLOW)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        settings = {**os.environ, "LD_PRELOAD": str(library), "DELAY": str(options.delay)}
        command = [sys.executable, "-m", "scripts.fence_race", "--rounds", str(options.rounds), "--draw"]
        for _ in range(options.processes):
            for kind, counted in ends.items():
                counted[
                    subprocess.run([*command, kind], env=settings, stderr=subprocess.DEVNULL).returncode
                ] += 1
    for kind, counted in ends.items():
        told = ", ".join(f"{n} with status {status}" for status, n in sorted(counted.items()))
        print(f"{kind}: {told}")


if __name__ == "__main__":
    main()
