"""The page in a real browser: phone and desktop, light, dark and on paper, by keyboard, with prompts that bite."""

import base64
import hashlib
import re

import pytest

from tests.browser import needs_browser, show

pytestmark = needs_browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("study", ["page", "matrix"])
def test_the_page_fits_and_is_without_errors(browser, request, study, width, scheme, tmp_path):
    show(browser, request.getfixturevalue(study), width, scheme)
    assert browser.get_log("browser") == []
    assert browser.title.startswith("Do edits hold fast")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    # What is wider than the window scrolls inside its own box, and everything that is cut off can be scrolled to.
    outside = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1"
        " && !e.closest('.scroll')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []
    # Pictures are decoded when they come near; here all are, at once.
    broken = browser.execute_async_script(
        "const done = arguments[0], all = [...document.images]; all.forEach(i => { i.loading = 'eager'; });"
        "Promise.allSettled(all.map(i => i.decode())).then(r => done(r.filter(x => x.status != 'fulfilled').length))"
    )
    assert broken == 0
    height = browser.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, 15000), "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    picture = tmp_path / f"study-{width}-{scheme}.png"
    picture.write_bytes(base64.b64decode(shot["data"]))
    assert_not_blank(picture, dark=scheme == "dark")


def test_the_matrix_says_aloud_what_its_colours_say(browser, matrix):
    """Both judges' persistence, the verdict and, for all to see, the left number's interval."""
    show(browser, matrix, 390)
    label, seen = browser.execute_script(
        "const a = document.querySelector('a.cell');"
        "return [a.getAttribute('aria-label'), a.querySelector('.span').innerText]"
    )
    assert "CLIP " in label
    assert "classifier " in label
    low, high = re.match(r"CLIP \S+ %, (\S+) to (\S+) %", label.replace("\N{NARROW NO-BREAK SPACE}", " ")).groups()
    assert re.split("–| to ", seen) == [low, high]
    head = browser.execute_script(
        "const box = document.querySelector('.matrix'); box.scrollLeft = 200;"
        "return box.querySelector('tbody tr:nth-child(2) th').getBoundingClientRect().left"
    )
    assert 0 <= head < 40, "the row's name stays while the columns scroll"


def assert_not_blank(picture, dark):
    import numpy as np
    from PIL import Image

    pixels = np.asarray(Image.open(picture).convert("L"), dtype=float)
    assert (np.median(pixels) < 60) == dark
    bands = [band.std() for band in np.array_split(pixels, 8)]
    assert min(bands) > 3, "a band of the page is empty"


def test_text_has_contrast_in_both_schemes(browser, page):
    """WCAG AA (4.5) for the body, muted text and links on both backgrounds."""
    script = """
    const probe = document.body.appendChild(document.createElement('i'));
    const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const light = name => {
      probe.style.color = `var(${name})`;
      const [r, g, b] = getComputedStyle(probe).color.match(/[0-9.]+/g).map(v => linear(v / 255));
      return .2126 * r + .7152 * g + .0722 * b;
    };
    const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05), out = [];
    for (const text of ['--ink', '--muted', '--link'])
      for (const under of ['--paper', '--page']) out.push(ratio(light(text), light(under)));
    return out;"""
    for scheme in ("light", "dark"):
        show(browser, page, 1440, scheme)
        assert min(browser.execute_script(script)) >= 4.5


def test_prompts_stay_text(browser, page):
    show(browser, page, 1440)
    assert browser.title != "owned"
    policy = browser.execute_script("return document.querySelector('meta[http-equiv]').content")
    (script,) = browser.execute_script("return [...document.scripts].map(s => s.textContent)")
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    text = browser.execute_script("return document.querySelector('#pictures').textContent")
    assert '<script>document.title="owned"</script> & "rose" $x_1$ <img src=x>' in text
    assert browser.execute_script("return document.querySelectorAll('img[src=\"x\"]').length") == 0


def test_no_other_script_runs(browser, page):
    """Even what got into the page all the same would be refused by its policy."""
    show(browser, page, 1440)
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'document.title = \"owned\"';"
        "document.body.append(s); const i = new Image(); i.setAttribute('onerror', 'document.title = \"owned\"');"
        "document.body.append(i); i.src = 'data:,'"
    )
    refused = [line["message"] for line in browser.get_log("browser")]
    assert sum("Content Security Policy" in message for message in refused) >= 2
    assert browser.title != "owned"


def test_everything_can_be_reached_by_keyboard(browser, page):
    from selenium.webdriver.common.keys import Keys

    show(browser, page, 390)
    body = browser.switch_to.active_element
    body.send_keys(Keys.TAB)
    first = browser.switch_to.active_element
    assert first.text == "Skip to the answer"
    assert first.rect["x"] >= 0, "the skip link is seen when it has the focus"
    reached = set()
    for _ in range(40):
        element = browser.switch_to.active_element
        reached.add(element.tag_name + "." + (element.get_attribute("class") or ""))
        element.send_keys(Keys.TAB)
    assert {"a.skip", "a.", "summary.", "div.scroll"} <= reached
    browser.execute_script("document.querySelector('details summary').focus()")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    command = browser.execute_script("return document.querySelector('details[open] pre').innerText")
    assert command.startswith("snakemake --cores all results/figures/")


def test_the_page_prints(browser, page):
    """Paper: a PDF of some pages, on a white ground even for a reader in the dark, without the navigation."""
    show(browser, page, 1440, "dark")
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.execute_script("return getComputedStyle(document.querySelector('nav')).display") == "none"
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")
    assert 3 <= pdf.count(b"/Type /Page\n") < 20
    told = browser.execute_script("return [...document.querySelectorAll('.paper')].map(e => e.checkVisibility())")
    assert told == [True], "paper says where the rest is"
    controls = browser.execute_script(
        "return [...document.querySelectorAll('.tools')].filter(e => e.checkVisibility()).length"
    )
    assert controls == 0


def test_a_large_study_prints_on_few_pages(browser, matrix):
    show(browser, matrix, 1440)
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert 8 <= pdf.count(b"/Type /Page\n") < 30
