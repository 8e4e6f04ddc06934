"""A real browser and the pages that it opens: the small study with prompts that bite, and the whole matrix."""

import shutil
from urllib.parse import quote

import pytest

from tests import synthetic

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="No Chromium here: `apt-get install chromium chromium-driver` installs the browser that this test drives.",
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(300)  # a busy machine lays a large page out slowly
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    """Address of the report of the synthetic study with hostile prompts."""
    return "file://" + quote(str(synthetic.write_page(tmp_path_factory.mktemp("page"), hostile=True)))


@pytest.fixture(scope="session")
def matrix(tmp_path_factory):
    """Address of the report of the synthetic matrix: two families, two editors, seven tunings, four tasks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "STEPS", synthetic.STEPS[-1:])  # a third of the work
        path = synthetic.write_page(tmp_path_factory.mktemp("matrix"), draws=50, whole=True, seeds=2)
    return "file://" + quote(str(path))


def show(browser, page, width, scheme="light"):
    """Open the page in a window of this width and colour scheme; errors of earlier pages are gone."""
    browser.get_log("browser")
    window = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    media = {"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page)
