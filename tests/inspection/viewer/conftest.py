"""A headless Chromium, where there is one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lit_unmask.inspection.trajectories import Trajectory
from lit_unmask.inspection.viewer import write_viewer

BINARIES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
    *("disable-dev-shm-usage", "hide-scrollbars", "window-size=1280,800"),
)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A driver that keeps the logs of the console and of the network."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    exceptions = pytest.importorskip("selenium.common.exceptions")
    binary = next(filter(None, map(shutil.which, BINARIES)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip(
            "there is no chromium with its chromedriver; install them, on Debian with "
            "apt-get install chromium chromium-driver"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    except exceptions.WebDriverException as error:
        pytest.skip(f"chromium does not start here: {error.msg.splitlines()[0]}")
    yield browser
    browser.quit()


class Viewer:
    """The page in a browser, with what the tests look for on it."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def press(self, *keys: str) -> None:
        """Send keys to whatever has the focus."""
        self.browser.switch_to.active_element.send_keys(*keys)

    def tokens(self, side: int = 0) -> list[str]:
        """The words that are shown in the cells of a panel."""
        script = "return [...arguments[0].querySelectorAll('.token')].map((t) => t.textContent)"
        return self.browser.execute_script(script, self.all(".panel")[side])

    def marked(self, name: str, side: int = 0) -> list[int]:
        """Positions of a panel that have an attribute ``data-<name>``."""
        script = (
            "return [...arguments[0].querySelectorAll(arguments[1])].map((c) => c.dataset.position)"
        )
        cells = f".tokens .cell[data-{name}]"
        found = self.browser.execute_script(script, self.all(".panel")[side], cells)
        return [int(position) for position in found]

    def state(self, side: int = 0) -> str:
        return self.all(".state")[side].text

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        messages = [
            json.loads(e["message"])["message"] for e in self.browser.get_log("performance")
        ]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [parameters["request"]["url"] for parameters in sent]

    def complaints(self) -> list[str]:
        """Messages of the console since the last call."""
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def emulate(self, command: str, **settings: Any) -> None:
        self.browser.execute_cdp_cmd(f"Emulation.{command}", settings)

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.emulate("setDeviceMetricsOverride", **metrics)

    def scheme(self, name: str) -> None:
        self.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])


@pytest.fixture
def show(chromium: Any, tmp_path: Path) -> Iterator[Callable[[list[Trajectory]], Viewer]]:
    """A function that opens the page of some trajectories."""
    viewer = Viewer(chromium)

    def call(trajectories: list[Trajectory]) -> Viewer:
        file = tmp_path / "page.html"
        write_viewer(file, trajectories)
        viewer.requests(), viewer.complaints()
        viewer.browser.get(file.as_uri())
        return viewer

    yield call
    viewer.emulate("clearDeviceMetricsOverride")
    viewer.emulate("setEmulatedMedia", features=[])
