"""The evaluation report: what is on the page, and that it can be read."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import report_helpers
from sagemaker_project.tabular import report, report_svg
from sagemaker_project.tabular.report_html import metric_name, name, number, prose, spread

pytestmark = pytest.mark.fast

VOID = {"meta", "wbr", "br", "circle", "line", "path", "rect", "polyline", "polygon"}
DIGIT, LINE = 7.0, 11.0  # pixels of a character and of a line of a label
FACTS = list(report_helpers.ALL)


class Page(HTMLParser):
    """A well-formed page: its tags with their attributes, its text, the labels of its plots."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words, self.labels, self.comments = [], [], [], [], []
        self.feed(content)
        self.close()
        assert not self.open
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        names = [key for key, _ in attrs]
        assert len(names) == len(set(names))
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "svg" and dict(attrs).get("class") == "plot":
            self.labels.append((dict(attrs), []))
        if tag == "text":
            self.labels[-1][1].append([dict(attrs), ""])

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open.pop() == tag
        self.words.append(" ")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert tag in VOID

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)
        if self.open and self.open[-1] == "text":
            self.labels[-1][1][-1][1] += data

    def handle_comment(self, data):
        self.comments.append(data)


@pytest.fixture(scope="module")
def pages():
    return {key: Page(report.page(make())) for key, make in report_helpers.ALL.items()}


def box(attributes, text):
    """Return left, top, right and bottom of a label, in pixels of its plot."""
    x, y, width = float(attributes["x"]), float(attributes["y"]), DIGIT * len(text)
    start = {"middle": x - width / 2, "end": x - width}[attributes["text-anchor"]]
    if "transform" in attributes:  # turned by -90 degrees around x, y
        return x - LINE + 2, y - width / 2, x + 2, y + width / 2
    return start, y - LINE + 2, start + width, y + 2


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def check_labels(plots):
    for svg, texts in plots:
        _, _, width, height = map(float, svg["viewbox"].split())
        boxes = [box(attributes, text) for attributes, text in texts]
        for one, (_, text) in zip(boxes, texts, strict=True):
            assert one[0] >= -1 and one[1] >= 0, text
            assert one[2] <= width + 1 and one[3] <= height, text
        for i, one in enumerate(boxes):
            for j in range(i):
                assert not overlap(one, boxes[j]), (texts[i], texts[j])


@pytest.mark.parametrize("key", FACTS)
def test_no_labels_of_a_plot_overlap_or_leave_it(pages, key):
    check_labels(pages[key].labels)


@pytest.mark.parametrize(
    "low, high",
    [(0, 1), (0, 9999), (-1e-9, 1e-9), (1e9, 1e9 + 1), (-1e300, 1e300), (7, 7), (0, 0), (-3e7, 5)]
    + [
        (1234.5, 1234.6),
        (0.1, 0.3),
        (999_999, 1_000_001),
        (1e6, 1e6 + 7),
        (-1e300, -1e300),
        (1e-300, 2e-300),
    ],
)
def test_ticks_of_any_range_are_round_and_have_room(low, high):
    ticks = report_svg.ticks(low, high)
    assert ticks[0] <= low and high <= ticks[-1]
    assert 2 <= len(ticks) <= 10 and ticks == sorted(set(ticks))
    assert len(set(report_svg.tick_labels(ticks))) == len(ticks)
    drawn = report_svg.Axes((low, high), (low, high), "x" * 90, "y" * 90).draw([], "plot")
    check_labels(Page(drawn).labels)


@pytest.mark.parametrize("key", FACTS)
def test_a_page_needs_no_other_file_and_no_script(pages, key):
    page = pages[key]
    assert {"script", "link", "img", "iframe"}.isdisjoint(tag for tag, _ in page.tags)
    assert not any({"src", "href", "onload"} & set(attributes) for _, attributes in page.tags)
    assert "url(" not in report.STYLE and "@import" not in report.STYLE
    assert "prefers-color-scheme: dark" in report.STYLE


@pytest.mark.parametrize("key", FACTS)
def test_every_page_has_one_place_for_the_run_before_the_metrics(key):
    content = report.page(report_helpers.ALL[key]())
    assert content.count(report.RUN) == 1
    assert content.index('class="verdict') < content.index(report.RUN) < content.index("Metrics")


def test_what_means_something_in_html_is_escaped(pages):
    """Row 27 of the bad inputs."""
    for key in ("hard_regression", "hard_classes"):
        assert pages[key].comments == [" run "]
        assert report_helpers.HOSTILE in pages[key].text.replace("< ", "<")


def test_every_class_of_the_style_sheet_that_a_page_uses_is_in_it(pages):
    used = {
        word
        for page in pages.values()
        for _, attributes in page.tags
        for word in (attributes.get("class") or "").split()
    }
    missing = {word for word in used if not re.search(rf"\.{word}\b", report.STYLE)}
    assert missing <= {"title"}


def test_the_verdict_comes_first_and_names_the_gate(pages):
    facts = report_helpers.regression()
    assert "Registered" in pages["regression"].text
    assert facts["decision"]["text"] in pages["regression"].text
    assert "Refused: it misses the threshold" in pages["binary"].text
    assert "auc 0.871 is below 0.9 by 0.029" in pages["binary"].text
    assert "Refused: not as good as the champion" in pages["hard_regression"].text


def test_a_champion_that_cannot_be_compared_refuses():
    facts = report_helpers.binary()
    facts["decision"] = {"passed": False, "gate": "champion", "text": "not comparable: seed"}
    page = Page(report.page(facts))
    assert "Refused: not comparable with the champion" in page.text
    assert "not comparable: it was trained under another split seed" in page.text


def test_the_metric_stands_beside_threshold_trivial_predictor_and_champion(pages):
    text = pages["regression"].text
    for part in (
        "this model 4.520 ± 0.31",
        "threshold (at most) 6 ✓ met by 1.480 (24.7%)",
        "trivial predictor 10.40 ✓ better by 5.880 (56.5%)",
        "champion, version 7 4.490 within the tolerance, worse by 0.030 (0.7%)",
    ):
        assert part in text
    assert "threshold (at least) 0.900 ✗ missed by 0.029 (3.2%)" in pages["binary"].text
    assert "champion – none serves" in pages["multiclass"].text


@pytest.mark.parametrize(
    "key, wanted",
    [
        ("regression", ["Predicted against actual", "Residuals", "How large the errors are"]),
        ("binary", ["Confusion matrix", "ROC curve", "Precision and recall", "Calibration"]),
        ("multiclass", ["Confusion matrix", "ROC curve", "Precision and recall", "Calibration"]),
    ],
)
def test_a_page_has_the_sections_of_its_problem(pages, key, wanted):
    common = ["Metrics", "Training", "Learning curve", "Importance", "By group", "Data"]
    for section in [*wanted, *common, "Columns in the three splits", "Provenance"]:
        assert section in pages[key].text
    assert ("ROC curve" in pages[key].text) is (key != "regression")
    assert "4,177 rows read, 3 dropped; 2,923 train, 626 validation, 625 test." in pages[key].text
    assert "3 rows dropped:" in pages[key].text and "alone gives the label away" in pages[key].text
    assert "2019\u201104\u201114 to 2024\u201110\u201104" in pages[key].text  # a date, not its days


def test_one_value_far_away_does_not_flatten_a_plot():
    facts = report_helpers.regression()
    facts["actual"][5] = 1.2e19
    content = report.page(facts)
    assert content.count('class="far"') == 2  # in both scatter plots
    assert "1 row beyond the axes, up to 1.2e19" in content
    plot = content[content.index("Predicted and actual") :]
    plot = plot[: plot.index("</svg>")]
    heights = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', plot)]
    assert len(heights) == 624 and max(heights) - min(heights) > 100
    assert "The outer bars hold 1 row beyond the axis." in content


def test_values_that_cannot_be_added_up_are_drawn_all_the_same():
    facts = report_helpers.regression(rows=40)
    facts["actual"][:2] = 1.7e308, -1.7e308
    Page(report.page(facts))


def test_a_plot_of_many_rows_is_thinned_and_says_so():
    """Row 30 of the bad inputs."""
    content = report.page(report_helpers.regression(rows=100_000))
    assert content.count("<circle") <= 2 * 1_600
    assert "of 100,000 test rows." in content


def test_no_outliers_no_cut():
    values = np.random.default_rng(0).normal(size=1_000)
    assert report_svg.main_range(values) == (values.min(), values.max())
    assert report_svg.main_range(np.append(values, 1e6)) == (values.min(), values.max())
    assert report_svg.main_range(np.array([1.0, 2.0])) == (1.0, 2.0)
    assert report_svg.main_range(np.array([5.0])) == (5.0, 5.0)


def test_of_20_classes_the_hardest_have_colours(pages):
    roc = next(
        texts for texts in pages["hard_classes"].tags if texts[1].get("aria-label") == "ROC curves"
    )
    at = pages["hard_classes"].tags.index(roc)
    curves = [
        attributes["class"]
        for tag, attributes in pages["hard_classes"].tags[at : at + 80]
        if tag == "polyline"
    ][:20]
    assert [kind for kind in curves if kind != "curve other"] == [f"curve c{i}" for i in range(6)]
    assert "14 others in grey" in pages["hard_classes"].text


def test_of_60_columns_most_are_folded(pages):
    page = pages["hard_regression"]
    assert [tag for tag, _ in page.tags].count("details") == 3
    for summary in ("40 further columns", "48 columns with less drift", "All 60 columns"):
        assert summary in page.text


def test_what_is_undefined_is_said_and_the_metrics_have_their_order():
    facts = report_helpers.binary()
    facts["metrics"] = {"true_positive_rate": {"value": 0.5, "standard_deviation": 0.1}} | {
        **facts["metrics"]
    }
    facts["undefined"] = {"f2": "no row is positive"}
    text = Page(report.page(facts)).text
    assert "No F2: no row is positive." in text
    assert text.index("AUC 0.871") < text.index("log loss") < text.index("true positive rate")


def test_a_column_is_shown_as_people_read_it():
    facts = report_helpers.regression()
    counts = {split: [5, 9, 1] for split in ("train", "validation", "test")}
    facts["data"]["columns"] = {
        "whole": {
            **{"type": "integer", "missing": 0, "minimum": 1.0, "mean": 2.0, "maximum": 3.0},
            **{"histogram": {"edges": [0.5, 1.5, 2.5, 3.5], **counts}, "drift": 0.3},
        },
        "flag": {
            **{"type": "boolean", "missing": 4, "minimum": 0.0, "mean": 0.5, "maximum": 1.0},
            "histogram": {"labels": ["0", "1"], **{key: n[:2] for key, n in counts.items()}},
        },
        "none": {"type": "number", "missing": 625},
    }
    content = report.page(facts)
    assert '<span class="tag">drift 0.300</span>' in content
    assert '<div class="ends"><span>1</span><span>3</span></div>' in content
    text = Page(content).text
    assert "false true boolean; 4 missing" in text and "none number 625 none –" in text


def test_a_line_of_several_files_has_its_file():
    facts = report_helpers.regression()
    facts["data"]["dropped"][0]["examples"] = [{"line": 7, "file": "part-1.csv"}]
    assert "(part-1.csv line 7)" in Page(report.page(facts)).text


def test_confusion_cells_are_counts_of_the_actual_class(pages):
    facts = report_helpers.binary()
    (a, b), (c, d) = facts["confusion"]
    assert f"no {a:,} {b:,} yes {c:,} {d:,}" in pages["binary"].text


@pytest.mark.parametrize(
    "value, wanted",
    [
        (None, "–"), (float("nan"), "–"), (float("inf"), "–"), (0, "0"), (0.0, "0"), (6.0, "6"),
        (4.52, "4.520"), (0.871, "0.871"), (613.25, "613.2"), (12_345.6, "12,346"), (1234, "1,234"),
        (0.00123, "0.0012"), (1.2e19, "1.2e19"), (-1.25e-7, "-1.25e-7"),
    ],
)  # fmt: skip
def test_numbers_are_short(value, wanted):
    assert number(value) == wanted


def test_metrics_have_the_names_that_people_write():
    names = {"f0_5": "F0.5", "weighted_f1": "weighted F1", "r2": "R²", "log_loss": "log loss"}
    assert {one: metric_name(one) for one in names} == names


def test_words_break_at_their_punctuation_alone():
    assert name("before_tax.euros") == "before_<wbr>tax.<wbr>euros"
    assert name("") == "(empty)"
    assert prose("at 0.5 on 2024-01-02") == "at 0.5 on 2024-01-02"
    long = name("a" * 90)
    assert "<wbr>" not in long and f'title="{"a" * 90}"' in long and "…" in long
    assert "overflow-wrap: anywhere" not in report.STYLE and "break-all" not in report.STYLE


def test_a_deviation_is_shown_in_two_digits():
    assert [spread(one) for one in (0.0123, None, 1.2e30, 1234.5)] == [
        "± 0.012", "", "± 1.2e30", "± 1,234.5"
    ]  # fmt: skip
