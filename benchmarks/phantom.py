"""CPU seconds of one phantom film, on one core, at the sizes that are used."""

from __future__ import annotations

import statistics
import time

import cv2

from sightline.data.phantom.render import render_image, render_masks
from sightline.data.phantom.scene import make_scene


def main() -> None:
    cv2.setNumThreads(1)
    for width in (128, 160, 320, 512):
        times = []
        for index in range(30):
            start = time.process_time()
            render_image(make_scene(0, index), width), render_masks(make_scene(0, index), width)
            times.append(time.process_time() - start)
        print(f"{width}²: median {1000 * statistics.median(times):.0f} ms, slowest {1000 * max(times):.0f} ms")


if __name__ == "__main__":
    main()
