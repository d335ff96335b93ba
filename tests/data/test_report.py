"""The report: made from a version's folder, shown by a real browser, with rows that try to take it over."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from proofmill.data.files import digest
from proofmill.data.report import page as report
from proofmill.data.report.page import sampled_rows
from proofmill.data.versions import Version, check_files, find
from support.browser import PROGRAM, Browser
from support.samples import replay_recipe, sums, write_jsonl

Row = dict[str, Any]
Run = Callable[..., Row]
STORED = Path(__file__).parent / "stored"
HOSTILE = (
    "<script>window.taken = 1</script> \\boxed{16}",
    "</script><img src=x onerror='window.taken = 2'><svg onload='window.taken = 3'> \\boxed{16}",
    "<!--<script> ]]> {{ 7 * 7 }} {% raw %} \\boxed{16}",
    "<a href='javascript:window.taken = 4'>javascript:window.taken = 4</a> \\boxed{16}",
    "<iframe src='https://example.com/'></iframe><link rel=stylesheet href='https://example.com/x.css'> \\boxed{16}",
    "\u202eturned \u2066about\u2069 \0 nul \u2028 \\boxed{16}",
    "<style>* { display: none } @import 'https://example.com/y.css';</style><base href='https://example.com/'> 16",
)


CUT_OFF = """[...document.querySelectorAll("main svg text")].filter((text) => {
    const inner = text.getBoundingClientRect();
    const under = [...text.ownerSVGElement.querySelectorAll("rect")].some((rect) => {
        const box = rect.getBoundingClientRect(), x = Math.min(box.right, inner.right) - Math.max(box.left, inner.left);
        return x > 1 && Math.min(box.bottom, inner.bottom) - Math.max(box.top, inner.top) > 6;
    });
    return inner.width && (under || inner.left < 0 || inner.right > innerWidth);
}).map((text) => text.textContent)"""
"""Words in pictures that a bar covers or that leave the page."""


@pytest.fixture(scope="module")
def hostile(regenerate: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HOME with a version whose prompt and responses are markup; its prompt too."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = sums(20) + [sums(1)[0] | {"response": text} for text in HOSTILE]
    rows += [row | {"prompt": f"<script>window.taken = 5</script>{row['prompt']}"} for row in sums(1)]
    regenerate(replay_recipe(write_jsonl(folder / "samples.jsonl", rows)), folder / "home")
    return folder / "home"


@pytest.fixture(scope="module")
def browser(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that has the hostile version's report open."""
    if PROGRAM is None:
        pytest.skip("no Chromium here")
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.open(find(hostile, "replayed").folder / "report.html")
        yield opened


def shown(browser: Browser) -> str:
    return str(browser.value("document.getElementById('count').textContent"))


def choose(browser: Browser, name: str, value: str) -> None:
    browser.value(
        f"(() => {{ const s = document.getElementById('{name}'); s.value = {value!r};"
        "s.dispatchEvent(new Event('input')); })()"
    )


def search(browser: Browser, text: str) -> None:
    browser.value("document.getElementById('search').focus(); document.getElementById('search').select()")
    browser.press("Delete", 46)
    browser.type(text)
    browser.wait(f"document.getElementById('search').value === {json.dumps(text)}")


def opened_text(browser: Browser) -> str:
    """Opens the first row and gives its response, which the page fills in after the click."""
    browser.value("document.querySelector('.trace > summary').click()")
    browser.wait("document.querySelectorAll('.trace:first-child .text').length === 2")
    return str(browser.value("document.querySelectorAll('.trace:first-child .text')[1].textContent"))


@pytest.fixture
def fresh(browser: Browser) -> Browser:
    """The page with nothing searched for and nothing chosen."""
    choose(browser, "verdict", "")
    choose(browser, "reason", "")
    search(browser, "")
    return browser


# --- the file -------------------------------------------------------------------------------------


def test_every_version_has_its_report_and_it_is_among_its_files(hostile: Path) -> None:
    version = find(hostile, "replayed")
    check_files(version)
    assert "report.html" in {file.path for file in version.manifest.files}
    page = (version.folder / "report.html").read_text()
    assert report.render(version) == page, "made again from the folder, it is the same"
    outside = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|//|javascript:)""", outside)
    assert page.count("</script>") == 2
    assert page.count("<script") == 2


def test_every_fate_is_among_the_rows(hostile: Path) -> None:
    version = find(hostile, "replayed")
    traces = pl.read_parquet(version.files("traces"))
    fates = set(traces.select("verdict", "drop_reason").unique().iter_rows())
    rows = sampled_rows(version)
    assert {(row["verdict"], row.get("drop_reason")) for row in rows} == fates
    assert sampled_rows(version) == rows
    assert len(sampled_rows(version, 1)) == len(fates)


def test_long_rows_are_cut_and_their_number_is_bounded(
    regenerate: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = " ".join(digest(number)[:6] for number in range(3000))
    rows = sums(2)
    for row in rows[3::6]:
        row["response"] = f"{words} {row['response']}"
    regenerate(replay_recipe(write_jsonl(tmp_path / "samples.jsonl", rows)), home)
    version = find(home, "replayed")
    found = sampled_rows(version)
    assert sum("characters …]" in row["response"] for row in found) == 2
    assert max(len(row["response"]) for row in found) < 6000
    monkeypatch.setattr("proofmill.data.report.page.MAX_BYTES", 8_000)
    assert 1 <= len(sampled_rows(version)) < 12


def test_the_picture_of_the_funnel_is_true_and_well_formed(hostile: Path) -> None:
    version = find(hostile, "replayed")
    picture = ET.fromstring(report.funnel(version, alone=True))  # noqa: S314 (our own)
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    for reason, count in version.manifest.selection.dropped.items():
        assert f"{reason.replace('_', ' ')} {count:,}" in texts
    kept = [e for e in picture.iter("{http://www.w3.org/2000/svg}rect") if e.get("class") == "kept"]
    ledger = version.manifest.selection
    share = float(kept[-1].get("height", 0)) / float(kept[0].get("height", 1))
    assert share == pytest.approx(ledger.kept / ledger.entered, abs=0.01)


def test_the_reasons_of_ones_own_filter_fall_off_before_what_is_sound() -> None:
    version = find(STORED, "stored")
    own = {"name": "polite", "version": 1, "adds": ["politeness"], "reasons": {"rude": ["politeness"]}}
    stages = version.manifest.to_json()["stages"]
    stages["selection"] = {"in": 21, "kept": 10, "dropped": {"wrong": 8, "rude": 3}}
    filters = [*(record.to_json() for record in version.manifest.filters), own]
    picture = report.funnel(replace(version, manifest=version.manifest.replaced(stages=stages, filters=filters)))
    texts = re.findall(r">([^<>]+)</text>", picture)
    assert texts[texts.index("sound") + 1] == "10"
    assert "rude 3" in texts
    assert texts.index("right answer") < texts.index("rude 3") < texts.index("sound")


def test_a_stored_older_version_has_a_report() -> None:
    page = report.render(find(STORED, "stored"))
    assert "stored@v1" in page
    assert "Seconds by stage" not in page


VERIFIER = {"model": "<script>window.taken = 8</script>", "revision": "r1", "weights": "w1", "k": 4, "m": 5}
RATES = {"1": {"maj_k": 0.5, "clr_k": 0.5}, "2": {"maj_k": 0.55, "clr_k": 0.6}, "4": {"maj_k": 0.6, "clr_k": 0.75}}


@pytest.fixture(scope="module")
def voted(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The hostile version as if a model of a hostile name had judged its claims: a page depends on the folder alone."""
    version = find(hostile, "replayed")
    folder = tmp_path_factory.mktemp("voted") / "v0001"
    shutil.copytree(version.folder, folder)
    manifest = version.manifest.replaced(
        clr=VERIFIER | {"counts": {"upheld": 9, "doubted": 3, "scored": 4}},
        at_k={"problems": 20, "pass_1": 0.5, "maj_k": 0.6, "clr_k": 0.75, "by_k": RATES},
        tokens={"sampled": 400, "verifier": {"calls": 16, "prompt_tokens": 4000, "completion_tokens": 500}},
    )
    return Version("replayed", 1, folder, manifest)


def test_what_the_verifier_says_and_costs_is_shown(voted: Version) -> None:
    page = report.render(voted)
    for name, value in (("clr@k", "75.0%"), ("maj@k", "60.0%"), ("pass@1", "50.0%"), ("verifier tokens", "4,500")):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in page
    assert "16 calls, 4,000 tokens read, 500 written" in page
    lines = re.findall(r'<polyline class="(\w+)-line" points="([^"]+)"/>', page)
    heights = {kind: [float(point.partition(",")[2]) for point in points.split()] for kind, points in lines}
    assert list(heights) == ["kept", "second", "soft"]
    assert heights["kept"][0] == heights["second"][0] == heights["soft"][0]
    assert heights["kept"][2] < heights["second"][2] < heights["soft"][2], "higher is better"
    assert VERIFIER["model"] not in page
    page = report.render(Version("replayed", 1, voted.folder, voted.manifest.replaced(at_k=None, clr=None)))
    assert "<polyline" not in page


# --- in a browser ---------------------------------------------------------------------------------


def test_nothing_of_a_models_text_runs_or_asks_for_anything(fresh: Browser) -> None:
    for place in range(fresh.value("document.querySelectorAll('.trace > summary').length")):
        fresh.value(f"document.querySelectorAll('.trace > summary')[{place}].click()")
    fresh.wait("document.querySelectorAll('.trace .inside').length === document.querySelectorAll('.trace').length")
    assert fresh.value("window.taken === undefined")
    assert fresh.value("document.querySelectorAll('img, iframe, link, base, object, a:not(.skip)').length") == 0
    assert fresh.value("document.querySelectorAll('script').length") == 2
    asked = [e["params"]["request"]["url"] for e in fresh.events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("file:")] == []
    assert len(asked) == 1, "the page itself"
    assert [event for event in fresh.events if event["method"] == "Log.entryAdded"] == []
    assert fresh.value("getComputedStyle(document.body).display") == "block"


def test_a_policy_stops_what_would_get_through(fresh: Browser) -> None:
    fresh.value("""(() => {
        window.refused = [];
        addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
        const script = Object.assign(document.createElement("script"), {textContent: "window.taken = 7"});
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", "<img id=probe src=x onerror='window.taken = 6'>");
        document.getElementById("probe").addEventListener("error", () => { window.failed = true; });
    })()""")
    fresh.wait("window.failed === true")
    fresh.wait("['script-src-elem', 'script-src-attr', 'img-src'].every((kind) => refused.includes(kind))")
    assert fresh.value("window.taken === undefined")
    fresh.value("document.getElementById('probe').remove()")
    fresh.events.clear()


def test_markup_is_shown_as_text(fresh: Browser) -> None:
    search(fresh, "onerror")
    assert shown(fresh).startswith("1 of ")
    assert opened_text(fresh) == HOSTILE[1]
    assert fresh.value("document.querySelector('mark').textContent") == "onerror"
    search(fresh, "turned")
    text = opened_text(fresh)
    assert "⟨U+202E⟩turned" in text
    assert "⟨U+0000⟩" in text


def test_search_and_filters_narrow_the_rows(fresh: Browser, hostile: Path) -> None:
    rows = sampled_rows(find(hostile, "replayed"))
    assert shown(fresh) == f"{len(rows)} of {len(rows)}"
    choose(fresh, "verdict", "wrong")
    wrong = sum(row["verdict"] == "wrong" for row in rows)
    assert shown(fresh) == f"{wrong} of {len(rows)}"
    choose(fresh, "reason", "kept")
    assert shown(fresh) == f"0 of {len(rows)}"
    choose(fresh, "verdict", "")
    assert shown(fresh) == f"{sum('drop_reason' not in row for row in rows)} of {len(rows)}"
    choose(fresh, "reason", "")
    search(fresh, "BOATS")
    assert shown(fresh) == f"{sum('boats' in row['response'] for row in rows)} of {len(rows)}"


def test_the_keyboard_is_enough(fresh: Browser) -> None:
    """From the search field, Tab leads over both lists to the first row, and Enter opens it."""
    search(fresh, "weather")
    for _ in range(3):
        fresh.press("Tab", 9)
    fresh.wait("document.activeElement.tagName === 'SUMMARY'")
    fresh.press("Enter", 13, "\r")
    fresh.wait("document.querySelector('.trace').open")


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_drawn_in_light_and_dark_and_on_a_phone(fresh: Browser, tmp_path: Path, dark: bool) -> None:
    fresh.picture(tmp_path / "wide.png", 1200, 900, dark=dark)
    assert fresh.value(CUT_OFF) == []
    fresh.picture(tmp_path / "phone.png", 390, 800, dark=dark)
    assert fresh.value("document.documentElement.scrollWidth") <= 390
    assert fresh.value(CUT_OFF) == []
    ink, paper = (fresh.value(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert (lightness[0] > lightness[1]) == dark
    assert abs(lightness[0] - lightness[1]) > 400


def test_paper_is_white_and_holds_the_whole_picture(fresh: Browser, tmp_path: Path) -> None:
    """Printed from a dark screen, on A4: dark ink, nothing cut off, no controls that can't be used there."""
    fresh.picture(tmp_path / "screen.png", 794, 1100, dark=True)
    scheme = [{"name": "prefers-color-scheme", "value": "dark"}]
    fresh.call("Emulation.setEmulatedMedia", media="print", features=scheme)
    fresh.wait("matchMedia('print').matches")
    ink = "getComputedStyle(document.querySelector('{}')).{}"
    for place, name in (("body", "color"), ("svg text", "fill")):
        assert sum(map(int, re.findall(r"\d+", fresh.value(ink.format(place, name)))[:3])) < 400
    cut = "[...document.querySelectorAll('.wide')].every((box) => box.scrollWidth <= box.clientWidth)"
    assert fresh.value(cut)
    assert fresh.value(ink.format(".controls", "display")) == "none"
    fresh.call("Emulation.setEmulatedMedia", media="", features=[])


def test_the_curve_of_votes_fits_the_page(browser: Browser, voted: Version, tmp_path: Path, hostile: Path) -> None:
    (tmp_path / "report.html").write_text(report.render(voted))
    browser.events.clear()
    browser.open(tmp_path / "report.html")
    browser.picture(tmp_path / "curve.png", 390, 800)
    assert browser.value("window.taken === undefined")
    assert browser.value("document.documentElement.scrollWidth") <= 390
    colours = "[...document.querySelectorAll('polyline')].map((line) => getComputedStyle(line).stroke)"
    assert len(set(browser.value(colours))) == 3
    inside = "(svg => [...svg.querySelectorAll('text')].every(text => { const box = text.getBBox();"
    inside += "return box.x >= 0 && box.x + box.width <= svg.viewBox.baseVal.width; }))"
    assert browser.value(f"{inside}(document.querySelector('polyline').ownerSVGElement)"), "no label is cut off"
    browser.events.clear()
    browser.open(find(hostile, "replayed").folder / "report.html")


def test_a_copied_version_reports_the_same(hostile: Path, tmp_path: Path) -> None:
    shutil.copytree(hostile / "datasets", tmp_path / "datasets")
    assert report.render(find(tmp_path, "replayed")) == report.render(find(hostile, "replayed"))
