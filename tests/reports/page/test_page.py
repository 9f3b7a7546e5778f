"""Tests of a report's page in a browser: sorting, opening, filtering, going back, printing."""

import json
import subprocess

import numpy as np
import pytest

from reports.page import render_page
from reports.types import RenderedFigure
from tests.chromium import PROGRAM, chromium
from tests.reports.page.made import ARMS, CLASSES, HOSTILE_TEXTS, TITLES, card, many, named, report, run

pytestmark = pytest.mark.slow
SVG = RenderedFigure(
    "image/svg+xml",
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 300"><script>alert(3)</script>'
    b'<path d="M0 0L700 300" stroke="red"/></svg>',
)
NUMBER = 'td[data-cell="comparison/mart/ekman6/acc_e"]'
HEAD = "#table-comparison thead tr:last-child th:nth-child({}) button"
IS_OPEN = "document.getElementById('drill').open"
FOCUS = "document.activeElement"
READY = "document.querySelector('#list .count')"  # the data of the runs are unpacked
SHUT = f"!{IS_OPEN} && location.hash === ''"


@pytest.fixture(scope="module")
def browser():
    if PROGRAM is None:
        pytest.skip("no Chromium on this machine")
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    found = many(folder, ("mart", "mbt", "mbt-long", "probe"), ("ekman6", "perr"), 2, 240)
    return [*found, run(folder, card(), "mart", 9, failed="CUDA out of memory")]


@pytest.fixture(scope="module")
def path(runs, tmp_path_factory):
    written = tmp_path_factory.mktemp("page") / "report.html"
    written.write_text(render_page(report(runs, is_sample=True), {"curve": SVG}))
    return written


@pytest.fixture
def tab(browser, path):
    """Open the page; fail the finished test on an exception, a console message or a network request."""
    browser.view(1280, 900)
    browser.open(path)
    browser.wait(READY)
    yield browser
    assert browser.exceptions == [] and browser.console == []
    assert [url for url in browser.requests if not url.startswith("data:image/")] == [
        browser.evaluate("location.href.split('#')[0]")
    ]


def column(tab, at):
    """Return the texts of a column of the comparison, from the top, without footnotes."""
    return tab.evaluate(
        "[...document.querySelectorAll('#table-comparison tbody tr')].map((row) =>"
        f" [...row.cells[{at}].childNodes].filter((node) => node.nodeName !== 'SUP')"
        ".map((node) => node.textContent).join(''))"
    )


def numbers(column):
    return [float(text.split()[0]) for text in column]


def shown(tab):
    """Return the rows of the test predictions in the document: clip, true, predicted, probability."""
    return tab.evaluate(
        "[...document.querySelectorAll('.clips tbody tr')].map((row) =>"
        " [...row.cells].map((cell) => cell.textContent.replace(' (wrong)', '')))"
    )


def choose(tab, selector, value):
    """Select an option of a <select> element."""
    tab.evaluate(f'document.querySelector("{selector}").value = "{value}"')
    tab.evaluate(f"document.querySelector(\"{selector}\").dispatchEvent(new Event('change'))")


def test_a_column_sorts_down_then_up_then_as_it_was_and_rules_hold(tab):
    ours = numbers(column(tab, 1)[:4])
    assert ours not in (sorted(ours), sorted(ours, reverse=True))
    for by in ("click", "Enter", " "):
        tab.evaluate(f"document.querySelector('{HEAD.format(1)}').focus()")
        states = []
        for _ in range(3):
            if by == "click":
                tab.click(HEAD.format(1))
            else:
                tab.press(by)
            found, way = column(tab, 1), tab.evaluate("document.querySelector('[aria-sort]')?.ariaSort")
            states.append((numbers(found[:4]), found[4:], way))
        assert states == [
            (sorted(ours, reverse=True), ["41.0", "–"], "descending"),
            (sorted(ours), ["41.0", "–"], "ascending"),
            (ours, ["–", "41.0"], None),
        ], by
    assert (
        tab.evaluate("[...document.querySelectorAll('#table-comparison tbody tr')].findIndex((r) => r.className)") == 4
    )
    assert tab.evaluate("document.querySelectorAll('#table-comparison tr.rule').length") == 1


def test_a_sort_is_announced_and_names_sort_by_letters(tab):
    tab.click("#table-comparison thead th button")
    assert column(tab, 0) == ["mart", "mbt", "mbt-long", "probe", "MART, published", "MBT, published"]
    tab.click("#table-comparison thead th button")
    assert column(tab, 0)[:4] == ["probe", "mbt-long", "mbt", "mart"]
    tab.click(HEAD.format(4))
    assert (
        tab.evaluate("document.getElementById('announcement').textContent")
        == "Comparison: sorted by PERR F1 E, descending"
    )


def test_a_number_opens_its_runs_and_a_run_and_focus_returns(tab):
    tab.click(NUMBER)
    rows = tab.evaluate(
        "[...document.querySelectorAll('#drill tbody tr')].map((row) =>"
        " [...row.cells].map((cell) => cell.textContent.trim()))"
    )
    values = [float(row[-1]) for row in rows]
    assert [row[:4] for row in rows] == [["mart", "Ekman-6", "0", "0"], ["mart", "Ekman-6", "0", "1"]]
    assert sum(values) / 2 == pytest.approx(numbers(column(tab, 1)[:1])[0], abs=0.1)
    assert "mart · Ekman-6 Acc E" in tab.evaluate("document.getElementById('drill-title').textContent")
    tab.click("#drill tbody tr:nth-child(2) a")
    assert tab.evaluate("document.getElementById('drill-title').textContent") == "mart on Ekman-6, seed 1"
    tab.press("Escape")
    tab.wait(SHUT)
    assert tab.evaluate(f"{FOCUS}.dataset.cell") == "comparison/mart/ekman6/acc_e"


def test_everything_works_with_keys_alone(tab):
    for _ in range(60):
        tab.press("Tab")
        if tab.evaluate(f"{FOCUS}.matches('td[data-runs]')"):
            break
    assert tab.evaluate(f"{FOCUS}.dataset.cell") == "comparison/mart/ekman6/acc_e"
    assert tab.evaluate(f"getComputedStyle({FOCUS}).outlineStyle") == "solid"
    tab.press("ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowUp")
    assert tab.evaluate(f"{FOCUS}.dataset.cell") == "comparison/mbt/ekman6/acc_e"
    tab.press("Enter")
    tab.wait(IS_OPEN)
    tab.press("Tab", "Enter")
    tab.wait("location.hash.startsWith('#run=')")
    tab.press("Shift+Tab", "Shift+Tab", "Enter")  # Close, then Back
    tab.wait("location.hash.startsWith('#cell=')")
    assert tab.evaluate(f"{FOCUS}.textContent") == "mbt"
    tab.press("Escape")
    tab.wait(SHUT)
    assert tab.evaluate(f"{FOCUS}.dataset.cell") == "comparison/mbt/ekman6/acc_e"
    tab.press("Tab")
    assert not tab.evaluate(f"{FOCUS}.matches('td')")  # a table of numbers is one stop


def test_the_skip_link_is_the_first_stop(tab):
    tab.press("Tab")
    assert tab.evaluate(f"{FOCUS}.className") == "skip"
    tab.press("Enter")
    tab.wait(f"{FOCUS}.id === 'main'")


def test_a_run_shows_its_record(tab, runs):
    first = runs[0].record
    tab.evaluate(f"location.hash = '#run={first.key}'")
    tab.wait(IS_OPEN)
    text = tab.evaluate("document.getElementById('drill-body').textContent")
    for text_part in (
        first.key,
        first.provenance["commit"],
        "node7",
        "version 3",
        "f" * 64,
        "c" * 64,
        "epochs20",
        "joy/7",
    ):
        assert str(text_part) in text
    link = tab.evaluate("(({href, rel}) => [href, rel])(document.querySelector('#drill a[target]'))")
    assert link == [f"http://127.0.0.1:5000/#/experiments/3/runs/{'a' * 32}", "noreferrer"]
    row = "[...document.querySelectorAll('#drill tr')].find((row) => row.cells[0].textContent === 'Acc E')"
    expected = [f"{100 * first.scores[f'{split}/acc_e']:.1f}" for split in ("val", "test")]
    assert tab.evaluate(f"[...{row}.cells].slice(1).map((cell) => cell.textContent)") == expected


def test_curves_are_drawn_and_chosen(tab, runs):
    tab.evaluate(f"location.hash = '#run={runs[0].record.key}'")
    tab.wait(IS_OPEN)
    drawn = "document.querySelectorAll('.panel:nth-of-type({}) polyline').length"
    assert [tab.evaluate(drawn.format(at)) for at in (1, 2)] == [1, 3]  # val Acc E; the losses of two stages and of val
    best = 100 * runs[0].record.scores["test/acc_e"] * (1 - 0.6 * 2.718281828 ** (-3 * 19 / 20))
    assert f"{best:.1f}" in tab.evaluate("document.querySelector('.readout').textContent")
    tab.click(".panel:nth-of-type(2) .chip:nth-child(2) input")
    assert tab.evaluate(drawn.format(2)) == 4
    tab.evaluate("document.querySelector('.graph').focus()")
    tab.press("ArrowRight")
    assert "pretrain, epoch 1" in tab.evaluate("document.querySelector('.readout').textContent")


def test_predictions_are_filtered_and_their_numbers_are_those_of_the_file(tab, runs):
    from pyarrow.parquet import read_table

    table = read_table(runs[0].folder / "predictions.parquet").to_pandas()
    test = table[table.split == "test"]
    right = int((test.label == test.predicted).sum())
    tab.evaluate(f"location.hash = '#run={runs[0].record.key}'")
    tab.wait(IS_OPEN)
    assert len(shown(tab)) == 100
    assert [row[:3] for row in shown(tab)] == test[["clip", "label", "predicted"]].values.tolist()[:100]
    scores = test[[f"score/{name}" for name in CLASSES]].to_numpy().astype(float)
    sure = 100 * (np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).max(1)
    np.testing.assert_allclose([float(row[3]) for row in shown(tab)], sure[:100], atol=0.051)
    tab.click(".shown button")
    assert len(shown(tab)) == 200
    tab.click(".shown button")
    assert len(shown(tab)) == 240 and tab.evaluate("document.querySelector('.shown button')") is None
    choose(tab, "#drill [aria-label='correct or wrong']", "wrong")
    assert tab.evaluate("document.querySelector('.clips .count').textContent").startswith(f"{240 - right} clips, 0")
    assert all(row[1] != row[2] for row in shown(tab))
    choose(tab, "#drill [aria-label='correct or wrong']", "correct")
    choose(tab, "#drill [aria-label='true class']", 3)
    joys = int(((test.label == "joy") & (test.predicted == "joy")).sum())
    assert [row[1:3] for row in shown(tab)] == [["joy", "joy"]] * joys
    choose(tab, "#drill [aria-label='correct or wrong']", "")
    assert [row[0] for row in shown(tab)] == test["clip"][test.label == "joy"].tolist()
    tab.evaluate("document.querySelector('#drill input[type=search]').focus()")
    tab.press(*"zzz")
    assert shown(tab) == [] and "No matches" in tab.evaluate("document.querySelector('.clips').textContent")


def test_a_link_to_a_run_opens_it_and_back_closes_it(tab, path, runs):
    tab.open(path, f"#run={runs[2].record.key}")
    tab.wait(IS_OPEN)
    assert tab.evaluate("document.querySelector('.kicker code').textContent") == runs[2].record.key
    tab.evaluate("history.back()")
    tab.wait(SHUT)
    for unknown in ("nonsense%E0%A4%A", "<img>", "", "__proto__"):
        tab.open(path, f"#run={unknown}")
        tab.wait(IS_OPEN)
        assert "Not on this page" in tab.evaluate("document.getElementById('drill-body').textContent")
        tab.press("Escape")
        tab.wait(SHUT)


def test_back_goes_from_a_run_to_its_number_to_the_page(tab):
    tab.click(NUMBER)
    tab.click("#drill tbody a")
    tab.wait("location.hash.startsWith('#run=')")
    tab.evaluate("history.back()")
    tab.wait("location.hash.startsWith('#cell=')")
    tab.wait("document.querySelector('#drill tbody a')")
    tab.evaluate("history.back()")
    tab.wait(SHUT)
    tab.evaluate("history.forward()")
    tab.wait(IS_OPEN)
    tab.click("#drill-close")
    tab.wait(SHUT)


# A slow browser reports the closing at its next frame, and goes back in its history later still.
DRILL = "document.getElementById('drill')"
CLOSE = f"{DRILL}.close();"
CLOSE_TWICE = f"{CLOSE} {DRILL}.dispatchEvent(new Event('close'));"
LATE = "new Promise((go) => setTimeout(() => requestAnimationFrame(() => setTimeout(go, 100)), 100))"


def test_a_closing_that_is_reported_late_or_twice_does_not_leave_the_page(tab):
    step = (
        "const step = (n) => new Promise((go) => { addEventListener('popstate', go, { once: true }); history.go(n); });"
    )
    tab.click(NUMBER)
    tab.wait(IS_OPEN)
    tab.evaluate(
        f"(async () => {{ {step} await step(-1); await step(1); {CLOSE} }})()"
    )  # no frame was drawn in between
    tab.evaluate(LATE)
    tab.wait(SHUT)
    tab.click(NUMBER)
    tab.wait(IS_OPEN)
    tab.evaluate(f"{CLOSE_TWICE} {LATE}")
    tab.wait(SHUT)


def test_an_event_of_the_step_before_does_not_open_again_what_was_closed(tab):
    tab.click(NUMBER)
    assert not tab.evaluate(f"{CLOSE_TWICE} dispatchEvent(new Event('hashchange')); {IS_OPEN}")
    tab.evaluate(LATE)
    tab.wait(SHUT)


def test_a_number_clicked_before_the_closing_is_over_opens(tab):
    tab.click(NUMBER)
    tab.wait(IS_OPEN)
    for closing in (CLOSE, CLOSE_TWICE):
        tab.evaluate(f"{closing} document.querySelector('{NUMBER}').click()")
        tab.evaluate(LATE)
        tab.wait(f"{IS_OPEN} && location.hash.startsWith('#cell=')")
    tab.click("#drill-close")
    tab.wait(SHUT)


def test_a_failed_run_shows_its_error_and_is_found_among_all_runs(tab):
    choose(tab, "#list select:last-of-type", "failed")
    assert tab.evaluate("document.querySelectorAll('#list tbody tr').length") == 1
    tab.click("#list tbody a")
    tab.wait(IS_OPEN)
    text = tab.evaluate("document.getElementById('drill-body').textContent")
    assert (
        "Failed: out of memory" in text and "CUDA out of memory" in text and "Traceback" in text and "lines ..." in text
    )
    assert "failed runs store none" in text
    tab.press("Escape")
    tab.wait(SHUT)
    assert tab.evaluate(f"{FOCUS}.matches('#list a')")


def test_all_runs_are_filtered_by_words(tab):
    tab.evaluate("document.querySelector('#list input').focus()")
    tab.press(*"long")
    tab.press(" ")
    tab.press(*"perr")
    found = tab.evaluate("[...document.querySelectorAll('#list tbody tr')].map((row) => row.textContent)")
    assert len(found) == 2 and all(row.startswith("mbt-long") and "PERR" in row for row in found)


def test_a_picture_is_enlarged_and_runs_no_script_of_its_own(tab):
    assert tab.evaluate("document.querySelector('.picture img').alt") == "A line."
    assert tab.evaluate("document.querySelector('.picture img').naturalWidth") > 0
    tab.click(".enlarge")
    tab.wait("document.getElementById('large').open && document.querySelector('#large img').complete")
    tab.press("Escape")
    tab.wait("!document.getElementById('large').open")
    assert tab.evaluate(f"{FOCUS}.className") == "enlarge"


def test_nothing_is_wider_than_a_phone(tab, runs):
    tab.view(360, 740)
    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    assert tab.evaluate("(({scrollWidth, clientWidth}) => scrollWidth > clientWidth)(document.querySelector('.grid'))")
    tab.evaluate(f"location.hash = '#run={runs[0].record.key}'")
    tab.wait(IS_OPEN)
    tab.evaluate("for (const fold of document.querySelectorAll('#drill details')) fold.open = true")
    over = "(({scrollWidth, clientWidth}) => scrollWidth - clientWidth)"
    for place in ("#drill", ".clips .scroll"):
        assert tab.evaluate(f"{over}(document.querySelector('{place}'))") == 0


def test_what_the_page_may_not_do_is_refused(browser, path):
    """Check the content security policy: only the page's own script runs."""
    browser.open(path)
    browser.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )
    browser.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
    browser.wait("true")
    assert browser.evaluate("window.ran") is None and any("Content Security Policy" in line for line in browser.console)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_hostile_names_are_text(browser, tmp_path, text):
    found = named(tmp_path / "runs", text)
    written = tmp_path / "page.html"
    written.write_text(render_page(found, {"curve": SVG}))
    browser.open(written)
    browser.wait(READY)
    plain = text.replace("\u202e", "\\u202e")
    assert browser.evaluate("document.querySelector('h1').textContent") == plain
    assert browser.evaluate("document.title") == plain.strip()
    suspects = "script, img, a[href^=javascript], [onload], [onerror]"
    tags = f"[...document.querySelectorAll('{suspects}')].map((one) => one.tagName)"
    assert browser.evaluate(tags) == ["IMG", "SCRIPT", "SCRIPT"]
    for one in found.runs:
        browser.evaluate(f"location.hash = '#run={one.record.key}'")
        browser.wait(f"document.querySelector('.kicker code')?.textContent === '{one.record.key}'")
        browser.evaluate("for (const fold of document.querySelectorAll('#drill details')) fold.open = true")
        content = browser.evaluate("document.getElementById('drill').textContent")
        assert content.count(plain) > 5 and "\u202e" not in content
    browser.evaluate(f"location.hash = '#run={found.runs[1].record.key}'")
    browser.wait(f"document.querySelector('.kicker code').textContent === '{found.runs[1].record.key}'")
    assert shown(browser)[0] == [f"{plain}/{plain}_0000", plain, *shown(browser)[0][2:]]
    cell = f"{plain}/{plain}/ekman6/acc_e"
    browser.evaluate(
        f"[...document.querySelectorAll('td')].find((td) => td.dataset.cell === {json.dumps(cell)}).click()"
    )
    browser.wait("location.hash.startsWith('#cell=')")
    assert plain in browser.evaluate("document.getElementById('drill-title').textContent")
    assert browser.evaluate(tags) == ["IMG", "SCRIPT", "SCRIPT"]
    assert browser.exceptions == [] and browser.console == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [written.as_uri()]


def test_a_browser_that_cannot_unpack_the_runs_shows_a_message_and_the_rest(browser, path):
    hidden = browser.call("Page.addScriptToEvaluateOnNewDocument", source="delete window.DecompressionStream")
    try:
        browser.open(path)
        browser.wait("document.querySelector('#list .warning')")
        assert "needs Chrome" in browser.evaluate("document.getElementById('list').textContent")
        browser.click(HEAD.format(1))
        assert browser.evaluate("document.querySelector('[aria-sort]').ariaSort") == "descending"
        assert browser.exceptions == [] and browser.console == []
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=hidden["identifier"])


def test_without_script_tables_and_figures_are_whole(browser, path):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(path)
        html = browser.evaluate("document.documentElement.outerHTML")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "The list of runs needs JavaScript" in html and html.count("<td") > 20 and 'src="data:image/svg+xml' in html


def test_paper_has_every_number_and_warning_and_no_drill_down(tab, tmp_path, runs):
    tab.evaluate(f"location.hash = '#run={runs[0].record.key}'")
    tab.wait(IS_OPEN)
    tab.pdf(tmp_path / "page.pdf")
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "page.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    for expected in (
        "BUILT-IN SAMPLE",
        "The runs come from 2 commits",
        "Only 2 seeds",
        "As printed by the authors",
        "A line",
    ):
        assert expected in text
    for at in range(1, 5):
        assert all(number.split()[0] in text for number in column(tab, at))
    assert runs[0].record.key not in text and "Click a column" not in text


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """Return the page of 640 runs: 16 methods, 5 data sets, 8 seeds; `python -m tests.speed report` times it."""
    folder = tmp_path_factory.mktemp("big")
    arms = (*ARMS, *(f"{arm}-2" for arm in ARMS))
    runs = many(folder / "runs", arms, tuple(TITLES), 8, 500, epochs=100)
    assert len(runs) == 640
    path = folder / "page.html"
    path.write_text(render_page(report(runs), {"curve": RenderedFigure("image/png", b"png")}))
    return path


def test_640_runs_make_less_than_2_mb(big):
    assert big.stat().st_size < 2_000_000


def test_640_runs_open_without_errors(browser, big):
    browser.open(big)
    browser.wait(READY)
    assert browser.evaluate("document.querySelector('#list .count').textContent") == "640 runs"
    assert browser.exceptions == [] and browser.console == []
