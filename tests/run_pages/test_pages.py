"""Blocks as HTML and Markdown: nothing of a record is markup, nothing is loaded, charts show their numbers."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ckdmed.metrics import expected_calibration_error
from ckdmed.run_pages.blocks import (
    Bars,
    Card,
    Cards,
    Facts,
    Intervals,
    Line,
    LineChart,
    Page,
    Picture,
    Section,
    SliceViewer,
    Table,
    Text,
    VolumeViewer,
)
from ckdmed.run_pages.chart_scale import scale_of
from ckdmed.run_pages.charts import intervals_shapes, line_shapes
from ckdmed.run_pages.evaluation_part import reliability
from ckdmed.run_pages.html import html_of
from ckdmed.run_pages.markdown import escaped, markdown_of
from ckdmed.run_pages.mask_calibration_part import mask_calibration_blocks
from ckdmed.run_pages.words import shown_value
from tests.run_pages.runs import MARKUP

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")


def page_of(*blocks, title=MARKUP):
    return Page(title, title, [Section(title, blocks), Section("b", []), Section("c", [])], ("../index.html", title))


EVERYTHING = [
    Text(MARKUP),
    Facts([(MARKUP, MARKUP, MARKUP)]),
    Table([MARKUP, MARKUP], [[MARKUP, MARKUP]], MARKUP),
    Table([MARKUP], [[MARKUP]], MARKUP, folded=True, prose=True),
    Picture(PNG, "a.png", MARKUP, MARKUP),
    LineChart(MARKUP, MARKUP, MARKUP, [Line(MARKUP, [(1, 2), (2, 3)]), Line("b", [(1, 1)])], (1, 2, MARKUP)),
    Intervals(MARKUP, MARKUP, [(MARKUP, 0.1, (0.0, 0.2), (-1.0, 9.0))], (MARKUP, MARKUP), zero=True),
    Bars(MARKUP, [(MARKUP, 1.0, MARKUP)]),
    Cards([Card(MARKUP, [MARKUP], 'x" onclick="window.hacked=1', PNG)]),
    SliceViewer([PNG], [PNG], (1, 1), 0, {MARKUP: '"/><script>1</script>'}, (MARKUP, MARKUP), [MARKUP]),
    VolumeViewer("var niivue = '</script>';", MARKUP, PNG, PNG, {1: (MARKUP, "#ffffff")}),
]


class Reader(HTMLParser):
    """The elements of a page, with their attributes and the text of scripts and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.contents: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.elements and (found := self.elements[-1][0]) in self.contents and self.cdata_elem:
            self.contents[found].append(data)


def test_no_name_of_a_record_becomes_markup():
    reader = Reader(html_of(page_of(*EVERYTHING)))
    attributes = {name for _, own in reader.elements for name in own}
    assert not {name for name in attributes if name.startswith("on")}
    assert "style" not in attributes
    scripts = [text for text in reader.contents["script"] if "hacked" in text]
    # the names stand in the data of the viewers, as text of JSON
    assert scripts and not any("<" in text for text in scripts)
    assert not any(own.get("src") == "x" for _, own in reader.elements)


def test_a_page_loads_nothing_and_runs_only_what_its_policy_names():
    text = html_of(page_of(*EVERYTHING))
    reader = Reader(text)
    for _, own in reader.elements:
        for name in ("src", "href", "action", "data"):
            assert not re.match(r"(?i)\s*(https?:)?//", own.get(name) or ""), own
    policy = next(own["content"] for tag, own in reader.elements if own.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy and "unsafe-inline" not in policy
    run = [own for tag, own in reader.elements if tag == "script" and own.get("type") != "application/json"]
    named = set(re.findall(r"'sha256-([^']+)'", policy))
    bodies = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    style = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    assert len(bodies) == len(run) and len(style) == 1
    hashes = {base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in [*bodies, *style]}
    assert hashes == named
    without_volume = html_of(page_of(*EVERYTHING[:-1]))
    assert "connect-src" not in without_volume and "wasm" not in without_volume


def test_markdown_holds_the_same_words_and_no_markup():
    text, pictures = markdown_of(page_of(*EVERYTHING))
    assert "<" not in text.replace("&lt;", "")
    assert pictures == {"a.png": PNG} and "(pictures/a.png)" in text
    assert escaped("a|b *c* `d` [e](f)\ng") == "a|b \\*c\\* \\`d\\` \\[e\\](f) g"
    assert "\\|" in markdown_of(page_of(Table(["a"], [["b|c"]])))[0]


def test_what_else_there_is_to_say_of_a_number_is_no_part_of_it_in_markdown():
    text, _ = markdown_of(page_of(Facts([("patients", "48", "216 items"), ("epochs", "3", "")])))
    assert "48 (216 items) |" in text and re.search(r"\| epochs +\| +3 \|", text)


def test_a_setting_of_lists_tells_what_stands_together():
    assert shown_value([["t1n", "t1c"], ["t2f"]]) == "t1n + t1c, t2f"
    assert shown_value([["t1n"], ["t1c"], ["t2f"]]) == shown_value(["t1n", "t1c", "t2f"]) == "t1n, t1c, t2f"
    assert shown_value([]) == "none"


def test_the_scale_of_an_axis():
    scale = scale_of([0.0, 10.0], 100.0, 0.0)
    assert (scale(0.0), scale(5.0), scale(10.0), scale(99.0)) == (100.0, 50.0, 0.0, 0.0)
    assert [text for _, text in scale.marks()] == ["0", "2", "4", "6", "8", "10"]
    assert [text for _, text in scale_of([-0.5, 0.5], 0.0, 1.0).marks()][0] == "−0.6"
    # a quarter is not shortened to another number
    assert [text for _, text in scale_of([0.0, 1.0], 0.0, 1.0, most=4).marks()] == [
        "0.00",
        "0.25",
        "0.50",
        "0.75",
        "1.00",
    ]
    logarithmic = scale_of([0.001, 1.0], 0.0, 300.0, may_be_logarithmic=True)
    assert logarithmic.logarithmic and logarithmic(0.01) == 100.0
    same = scale_of([3.0, 3.0], 0.0, 10.0)
    assert same.low < 3.0 < same.high and same(3.0) == 5.0


def test_a_line_chart_draws_its_points_in_place():
    shapes = line_shapes(LineChart("t", "x", "y", [Line("a", [(0, 0.0), (10, 1.0)])], y_range=(0.0, 1.0)))
    assert shapes["lines"][0]["path"] == "M46.0 194.0L348.0 10.0"
    with pytest.raises(ValueError, match="not finite"):
        line_shapes(LineChart("t", "x", "y", [Line("a", [(0, float("nan"))])]))
    with pytest.raises(ValueError, match="no points"):
        line_shapes(LineChart("t", "x", "y", [Line("a", [])]))


def test_intervals_are_coloured_only_where_none_holds_zero():
    rows = [
        ("gain", 0.2, (0.1, 0.3), (0.05, 0.4)),
        ("loss", -0.2, (-0.3, -0.1), None),
        ("seeds say no", 0.2, (0.1, 0.3), (-0.1, 0.5)),
        ("unknown", 0.2, None, None),
    ]
    shapes = intervals_shapes(Intervals("t", "x", rows, zero=True))
    assert [row["sign"] for row in shapes["rows"]] == ["gain", "loss", "undecided", "undecided"]
    # the scale is that of estimates and inner intervals; a wider outer one ends in an arrow
    assert shapes["rows"][2]["beyond"] == ["right"] or shapes["rows"][2]["beyond"] == []


def test_a_reliability_diagram_has_the_bins_of_the_calibration_error():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1.0, 1.0], 200)
    probabilities[:3] = [[0.6, 0.4], [0.2, 0.8], [1.0, 0.0]]
    labels = rng.integers(0, 2, 200)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    points = reliability(confidence, right, 15)
    edges = np.digitize(confidence, np.linspace(0, 1, 16)[1:-1], right=True)
    counts = [int((edges == k).sum()) for k in range(15) if (edges == k).any()]
    error = sum(count / 200 * abs(share - at) for count, (at, share) in zip(counts, points, strict=True))
    assert error == pytest.approx(expected_calibration_error(probabilities, labels, 15))


def test_the_calibration_of_masks_names_the_pixels_that_it_is_of():
    bins = [{"pixels": 3, "probability": 0.1, "tumour": 0.0}, {"pixels": 1, "probability": 0.9, "tumour": 1.0}]
    known = {"ece": 0.1, "interval": [0.05, 0.2], "pixels": 4, "bins": bins}
    unknown = {"ece": None, "interval": None, "pixels": 0, "bins": []}
    part = {"counted": "within 10 px of the tumour", "of": {"TC": known, "ET": unknown}}
    table, chart, note = mask_calibration_blocks({"calibration": part})
    assert table.rows == [["TC", "0.1000", "0.0500 to 0.2000", "4"], ["ET", "-", "-", "0"]]
    assert "within 10 px of the tumour" in note.text
    assert list(chart.lines[0].points) == [(0.1, 0.0), (0.9, 1.0)] and chart.diagonal
    part["of"] = {"ET": unknown}
    assert not any(isinstance(block, LineChart) for block in mask_calibration_blocks({"calibration": part}))
    (note,) = mask_calibration_blocks({})
    assert "not known" in note.text
