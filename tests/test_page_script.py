"""What the page's script adds, in a real browser: tables that sort, filter and download, and links that open."""

import time
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import unquote, urlparse

import pandas as pd
import pytest

from holdfast.report import words
from tests.browser import needs_browser, show

pytestmark = needs_browser

TABLE = "table[data-name='persistence-mini-sd']"
KEYS = ["task", "measure", "editor", "tuner", "site", "corpus"]


@pytest.fixture
def downloads(browser, tmp_path):
    """The folder that downloads come to."""
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    return tmp_path


def folder(address):
    """The folder of the study whose page this is."""
    return Path(unquote(urlparse(address).path)).parents[1]


def frame(address, name="persistence"):
    """A table of the study, every digit of it; of persistence.csv the rows of one family."""
    read = pd.read_csv(folder(address) / f"results/tables/{name}.csv", float_precision="round_trip")
    return read[read["family"] == "mini-sd"].reset_index(drop=True)


def opened(browser, address, selector=TABLE, width=1440):
    """The page with the table's `details` open."""
    show(browser, address, width)
    browser.execute_script("document.querySelector(arguments[0]).closest('details').open = true", selector)


def rows(browser):
    """The rows that the table shows, each as its exact values of KEYS and persistence."""
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0] + ' tbody tr')].filter(r => r.checkVisibility()).map("
        "r => [r.cells[0].innerText, r.cells[1].dataset.value, ...r.cells[2].dataset.value.split('|'),"
        " r.cells[3].dataset.value])",
        TABLE,
    )


def arrived(path):
    """The bytes of a download, once it is whole."""
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.05)
    return path.read_bytes()


def press(browser, label, within=TABLE):
    """Press the button of this name beside a table."""
    browser.execute_script(
        "const tools = document.querySelector(arguments[0]).closest('.scroll').previousElementSibling;"
        "[...tools.querySelectorAll('button')].find(b => b.innerText === arguments[1]).click()",
        within,
        label,
    )


@pytest.mark.parametrize("width", [390, 1440])
def test_a_column_sorts_by_its_numbers_from_the_keyboard(browser, matrix, width):
    from selenium.webdriver.common.keys import Keys

    opened(browser, matrix, width=width)
    expected = frame(matrix)
    assert [row[:-1] for row in rows(browser)] == expected[KEYS].to_numpy().tolist()
    header = f"{TABLE} thead th:nth-child(4)"
    assert browser.execute_script("return document.querySelector(arguments[0]).ariaSort", header) == "none"
    browser.execute_script("document.querySelector(arguments[0] + ' button').focus()", header)
    for order in ("ascending", "descending"):
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        assert browser.execute_script("return document.querySelector(arguments[0]).ariaSort", header) == order
        table = expected.sort_values("persistence", ascending=order == "ascending", kind="stable", na_position="last")
        assert table["persistence"].isna().iloc[-1] and table["persistence"].nunique() > 10
        assert [row[:-1] for row in rows(browser)] == table[KEYS].to_numpy().tolist()
        shown = pd.to_numeric(pd.Series([row[-1] for row in rows(browser)]))
        pd.testing.assert_series_equal(shown, table["persistence"], check_index=False, check_names=False)
    assert browser.get_log("browser") == []


def test_rows_stay_in_their_group(browser, matrix):
    show(browser, matrix, 1440)
    names, values = browser.execute_script(
        "const table = document.querySelector(\"table[data-name='before']\");"
        "table.tHead.querySelectorAll('button')[2].click();"
        "const groups = [...table.tBodies].map(b => b.querySelector('.group th').dataset.value);"
        "return [groups, [...table.tBodies].map(b => [...b.rows].slice(1).map(r => r.cells[2].dataset.value))]"
    )
    before = pd.read_csv(folder(matrix) / "results/tables/before.csv")
    assert len(names) == 4
    for name, group in zip(names, values, strict=True):
        family, editor = name.split("|")
        mine = before[(before["family"] == family) & (before["editor"] == editor)]
        mine = mine[mine["task"].isin(["appearance", "role"]) & mine["measure"].str.endswith("generality")]
        assert [float(value.split("|")[0]) for value in group] == sorted(mine["edited"])


def test_a_filter_keeps_the_rows_that_have_all_words(browser, matrix):
    opened(browser, matrix, width=390)
    table = frame(matrix)
    browser.execute_script(
        "document.querySelector(arguments[0]).closest('details').querySelector('input[type=search]').focus()", TABLE
    )
    browser.switch_to.active_element.send_keys("ReFACT  role dora")
    wanted = table[(table["editor"] == "refact") & (table["task"] == "role") & (table["tuner"] == "dora")]
    assert 0 < len(wanted) < len(table)
    assert [row[:-1] for row in rows(browser)] == wanted[KEYS].to_numpy().tolist()
    status = "return document.querySelector(arguments[0]).closest('details').querySelector('[role=status]').innerText"
    assert browser.execute_script(status, TABLE) == f"{len(wanted)} of {len(table)} rows"
    assert browser.execute_script("return document.activeElement.labels[0].innerText").strip() == "Filter rows"
    browser.switch_to.active_element.send_keys(" nothing")
    assert browser.execute_script(status, TABLE) == f"0 of {len(table)} rows"


def test_a_download_is_the_whole_table_to_the_last_digit(browser, matrix, downloads):
    """However the rows are sorted and filtered at the time."""
    opened(browser, matrix)
    browser.execute_script(
        "const table = document.querySelector(arguments[0]); table.tHead.querySelectorAll('button')[3].click();"
        "const input = table.closest('details').querySelector('input');"
        "input.value = 'uce'; input.dispatchEvent(new Event('input'))",
        TABLE,
    )
    press(browser, "Download CSV")
    path = downloads / "persistence-mini-sd.csv"
    assert arrived(path).count(b"\r\n") == len(frame(matrix)) + 1
    found = pd.read_csv(path, float_precision="round_trip")
    assert {"persistence", "ci_low", "ci_high", "edited_tuned", *KEYS} <= set(found)
    pd.testing.assert_frame_equal(found, frame(matrix)[list(found)], check_exact=True)
    assert browser.get_log("browser") == []


def test_grouped_tables_download_their_groups(browser, matrix, downloads):
    show(browser, matrix, 1440)
    press(browser, "Download CSV", "table[data-name='before']")
    arrived(downloads / "before.csv")
    found = pd.read_csv(downloads / "before.csv", float_precision="round_trip")
    before = pd.read_csv(folder(matrix) / "results/tables/before.csv", float_precision="round_trip")
    wanted = before[before["measure"].isin(["specificity", "classified_specificity"])]
    wanted = wanted[wanted["task"].isin(["appearance", "role"])]
    wanted = wanted.assign(judge=wanted["measure"].map(lambda name: "classifier" if "_" in name else "CLIP"))
    keys = ["family", "editor", "task", "judge"]
    wanted, found = wanted.set_index(keys).sort_index(), found.set_index(keys).sort_index()
    for column, name in (("specificity", "edited"), ("specificity_low", "edited_low")):
        pd.testing.assert_series_equal(found[column], wanted[name], check_names=False, check_exact=True)


def test_a_download_runs_nothing_in_a_spreadsheet(browser, matrix, downloads):
    opened(browser, matrix)
    bad = ["=1+1", "+cmd", "-x", "@SUM(A1)", 'say "a, b"', "two\nlines", "-0.5", "1e-05"]
    safe = ["'=1+1", "'+cmd", "'-x", "'@SUM(A1)", '"say ""a, b"""', '"two\nlines"', "-0.5", "1e-05"]
    browser.execute_script(
        "const rows = document.querySelector(arguments[0]).tBodies[0].rows;"
        "arguments[1].forEach((text, n) => { rows[n].cells[0].dataset.value = text; })",
        TABLE,
        bad,
    )
    press(browser, "Download CSV")
    lines = arrived(downloads / "persistence-mini-sd.csv").decode().split("\r\n")
    for line, start in zip(lines[1:], safe, strict=False):
        assert line.startswith(f"{start},")


def test_a_figure_downloads_as_it_was_drawn(browser, page, downloads):
    show(browser, page, 1440, "dark")
    browser.execute_script("document.querySelector(\"figure[data-name='persistence-mini-sd'] .tools button\").click()")
    text = arrived(downloads / "persistence-mini-sd.svg").decode()
    root = ET.fromstring(text)
    original = ET.parse(folder(page) / "results/figures/persistence-mini-sd.svg").getroot()
    assert (root.get("width"), root.get("viewBox")) == (original.get("width"), original.get("viewBox"))
    styles = [sorted(e.get("style") for e in tree.iter() if e.get("style")) for tree in (root, original)]
    assert styles[0] == styles[1] and len(styles[0]) > 20
    assert "var(" not in text


def is_seen(browser, element):
    """Whether the element is shown and its top lies within the window."""
    return browser.execute_script(
        "const e = document.getElementById(arguments[0]), top = e.getBoundingClientRect().top;"
        "return e.checkVisibility() && top >= 0 && top < innerHeight",
        element,
    )


def test_a_cell_leads_to_its_rows_and_on_to_its_pictures(browser, matrix):
    show(browser, matrix, 1440)
    links = browser.execute_script("return [...document.querySelectorAll('a.cell')].map(a => a.hash.slice(1))")
    assert len(links) == len(set(links)) == 2 * (4 + 3) * 7
    lost, ids = browser.execute_script(
        "const ids = [...document.querySelectorAll('[id]')].map(e => e.id);"
        "return [[...document.querySelectorAll(\"a[href^='#']\")].filter(a => !ids.includes(a.hash.slice(1)))"
        ".map(a => a.hash), ids.length - new Set(ids).size]"
    )
    assert (lost, ids) == ([], 0)
    place = "cell-mini-sd.uce.appearance.dora.denoiser.reverting"
    assert not browser.execute_script("return document.getElementById(arguments[0]).checkVisibility()", place)
    browser.execute_script("document.querySelector(`a.cell[href='#${arguments[0]}']`).click()", place)
    wait_for(lambda: is_seen(browser, place))
    assert browser.execute_script("return document.getElementById(arguments[0]).open", place)
    shown = browser.execute_script(
        "return [...document.getElementById(arguments[0]).querySelectorAll('tbody tr')].map("
        "r => [...r.cells].map(c => c.innerText))",
        place,
    )
    table = frame(matrix)
    mine = table[(table[["task", *KEYS[2:]]] == ["appearance", "uce", "dora", "denoiser", "reverting"]).all(axis=1)]
    assert len(mine) >= 4
    for row, (_, one) in zip(shown, mine.iterrows(), strict=True):
        assert row[:2] == [words.measure(one["measure"]), words.percent(one["persistence"])]
        assert row[5:9] == [words.percent(one[arm]) for arm in ("base", "edited", "tuned", "edited_tuned")]
    target = browser.execute_script(
        "const a = document.getElementById(arguments[0]).querySelector('.links a:nth-of-type(2)');"
        "a.click(); return a.hash.slice(1)",
        place,
    )
    wait_for(lambda: is_seen(browser, target))
    lit, others, states, grids = browser.execute_script(
        "const row = document.getElementById(arguments[0]), edit = row.closest('details'), lit = e =>"
        " getComputedStyle(e.cells[1]).backgroundColor, rows = [...edit.querySelectorAll('tr[data-row]')];"
        "return [rows.filter(r => lit(r) === lit(row)).map(r => r.dataset.row), rows.length,"
        " [...row.cells].slice(1).map(c => [...c.querySelectorAll('img')].map(i => i.title.split(':')[0])),"
        " edit.querySelectorAll('table').length]",
        target,
    )
    assert lit == ["dora on reverting"] * grids and others > len(lit)
    assert len(states) == 3 and all(seeds == ["seed 0", "seed 1"] for seeds in states)
    # Back at the same link: what has been folded up in the meantime opens again.
    browser.execute_script("document.getElementById(arguments[0]).closest('details').open = false", target)
    browser.execute_script("document.querySelector(`a[href='#${arguments[0]}']`).click()", target)
    wait_for(lambda: is_seen(browser, target))
    assert browser.get_log("browser") == []


def wait_for(condition):
    """Wait until a condition holds: pages scroll smoothly."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it never came into sight"
        time.sleep(0.05)


def test_without_scripts_the_page_is_whole(browser, matrix):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, matrix, 390)
        assert browser.execute_script("return document.querySelectorAll('.tools, th button, [aria-sort]').length") == 0
        text = browser.execute_script("return document.querySelector(arguments[0]).textContent", TABLE)
        table = frame(matrix)
        assert text.count("%") > 5 * len(table)
        place = browser.execute_script("return document.querySelector('a.cell').hash.slice(1)")
        browser.find_element("css selector", "a.cell").click()
        wait_for(lambda: is_seen(browser, place))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
