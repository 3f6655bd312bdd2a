"""The live view in a real browser: what a person sees who opens the address."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.segmenter import Segmentation

pytest.importorskip("rerun", reason="needs pip install 'lcr_seg_ros[rerun]'")
playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")

from lcr_seg_ros.viewer import SegmentationView, ViewerServer  # noqa: E402

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 320, 240
CARD = {"red": (220, 20, 30), "green": (10, 200, 40), "blue": (30, 40, 210), "yellow": (240, 220, 10)}
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE_S = 150.0
"""A software renderer on a busy machine; it takes 15 s on a quiet one."""


def test_card() -> np.ndarray:
    """(H, W, 3) four plain quarters: red and green above, blue and yellow below."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rows, columns = (slice(0, HEIGHT // 2), slice(HEIGHT // 2, None)), (slice(0, WIDTH // 2), slice(WIDTH // 2, None))
    for k, color in enumerate(CARD.values()):
        rgb[rows[k // 2], columns[k % 2]] = color
    return rgb


test_card.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    pytest.skip("needs a browser on PATH: chromium or google-chrome (on Debian: apt install chromium)")


@pytest.fixture
def shown() -> Iterator[tuple[ViewerServer, LabelSet]]:
    """A served view of one frame: the test card, half of it wall and half floor."""
    labels = LabelSet.load("nyu40")
    ids = {c.name: c.id for c in labels.classes}
    mask = np.full((HEIGHT, WIDTH), ids["wall"], np.uint8)
    mask[HEIGHT // 2 :] = ids["floor"]
    intrinsics = CameraIntrinsics(260.0, 260.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)
    depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    frame = RgbdFrame(test_card(), depth, intrinsics, gravity=np.array([0.0, 1.0, 0.0]))
    hha = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    with ViewerServer(port=0, data_port=0, memory_mb=64) as server:
        view = SegmentationView(LabelSet.load("nyu4"), [server.sink])
        view.show_labels(labels)  # as the command does, once the node has told its own
        moment = 1_700_000_000_000_000_000
        view.show_frame(moment, frame, Segmentation(mask, np.full(mask.shape, 0.8, np.float32), hha, {"hha": 4.0}))
        yield server, labels
        view.close()


def test_the_page_shows_image_labels_and_points_and_talks_to_nobody_else(chromium, shown, tmp_path):
    server, labels = shown
    wall = next(c.color for c in labels.classes if c.name == "wall")
    wanted = CARD | {"wall": wall}
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 800, "height": 520})
            page.set_default_timeout(PATIENCE_S * 1000)
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            page.goto(f"{server.url}?renderer=webgl")
            deadline = time.monotonic() + PATIENCE_S
            while True:
                page.wait_for_timeout(2000)
                picture = page.screenshot()
                seen = {name: share_of(picture, color) for name, color in wanted.items()}
                if min(seen.values()) > 0.002 or time.monotonic() > deadline:
                    break
        finally:
            browser.close()
    keep = Path(os.environ.get("LCR_SEG_SCREENSHOTS", tmp_path)) / "viewer.png"
    keep.write_bytes(picture)
    # The card is shown, in its own colours, about as large in each quarter; and the points of the wall in 3D.
    assert min(seen.values()) > 0.002, f"{seen}; see {keep}"
    quarters = [seen[name] for name in CARD]
    assert max(quarters) < 1.5 * min(quarters), f"{seen}; see {keep}"
    assert {urlsplit(url).hostname for url in asked if url.startswith("http")} == {"127.0.0.1"}


def share_of(png: bytes, color: tuple[int, int, int]) -> float:
    """Share of a picture's pixels that have about this colour."""
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return float((np.abs(pixels.astype(int) - color).max(axis=2) <= 6).mean())
