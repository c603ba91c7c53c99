"""Make a video of the expert in Town: seen from behind, and by the front camera with its labels.

python -m scripts.driving_video docs/town.mp4 [--seconds 15] [--seed 0]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from mtdrive.envs.cameras import CameraSettings
from mtdrive.envs.car import Car
from mtdrive.envs.driving_env import DrivingEnv
from mtdrive.envs.driving_settings import DrivingSettings
from mtdrive.envs.expert import Expert
from mtdrive.orders import Command
from mtdrive.video import VideoWriter
from scripts.contact_sheet import painted

SCENES = (
    ("Grid", "ClearNoon", "dense"),
    ("Large", "ClearSunset", "regular"),
    ("New", "HardRainNoon", "regular"),
    ("Large", "ClearNight", "dense"),
)
"""Town, weather and traffic of each part."""
RATE = 20.0
SMALLER = 34
"""Quality of the video, which is in the repository."""
WIDTH, HEIGHT, SMALL = 960, 400, (240, 120)
"""Of the large picture, and of the four below it."""


def drive(seconds: float, seed: int) -> Iterator[Image.Image]:
    """Yield the frames of all scenes."""
    settings = DrivingSettings(
        cameras=(CameraSettings("front", *SMALL),),
        labels=("depth", "semantics", "flow"),
        view=CameraSettings("chase", WIDTH, HEIGHT, 90.0, x=-6.5, z=3.2, pitch=-10.0),
        length=(300.0, 500.0),
        rate=RATE,
    )
    env = DrivingEnv(settings, render_mode="rgb_array")
    try:
        for number, (town, weather, density) in enumerate(SCENES):
            options = {"town": town, "weather": weather, "density": density}
            seen, info = env.reset(seed=seed + number, options=options)
            expert = Expert(env.route, env.lines, Car.of(env.car))
            for _ in range(round(seconds * RATE)):
                yield frame(env, seen, info, f"{town}, {weather}, {density} traffic")
                seen, _, terminated, truncated, info = env.step(expert.act(env.scene, env.guide).action)
                if terminated or truncated:
                    break
    finally:
        env.close()


def frame(env: DrivingEnv, seen: dict[str, Any], info: dict[str, Any], title: str) -> Image.Image:
    """Return one frame with what it shows written on it."""
    view = env.render()
    assert view is not None
    image = Image.new("RGB", (WIDTH, HEIGHT + SMALL[1]))
    image.paste(Image.fromarray(view), (0, 0))
    labels = info["labels"]
    pictures = [seen["front"], *painted(labels["depth"], labels["semantics"], labels["flow"])]
    for k, picture in enumerate(pictures):
        image.paste(Image.fromarray(picture), (k * SMALL[0], HEIGHT))
    order = Command(int(seen["command"])).name.lower().replace("_", " ")
    text = f"{title}   {3.6 * seen['speed'][0]:3.0f} km/h   {order}"
    ImageDraw.Draw(image).text((8, 6), text, fill="white", stroke_width=2, stroke_fill="black")
    return image


def main() -> None:
    """Write the video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each scene (default: 15)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with VideoWriter(options.out, RATE, SMALLER) as video:
        for image in drive(options.seconds, options.seed):
            video.write(image)
    print(f"{options.out} written")


if __name__ == "__main__":
    main()
