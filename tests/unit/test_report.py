"""The report: one page without network, whose charts and explorer answer in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

from trainers.errors import DrawingError
from trainers.evaluation.comparison import compare_runs
from trainers.reporting.page import embedded, write_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
RUNS = [f"docs/results/half_cheetah_vel_u03_{name}" for name in ("rl2", "pearl", "pearl_oracle", "maml")]

# Ahead of the page: note what goes wrong. After it: use it as a reader would, and leave what happened in the document.
WATCH = """<script>window.problems = [];
addEventListener("error", (event) => problems.push(event.message));
for (const name of ["error", "warn"]) console[name] = (...words) => problems.push(words.join(" "));
addEventListener("securitypolicyviolation", (event) => problems.push(`refused: ${event.blockedURI}`));</script>"""
USE = """<script>
const found = { lines: document.querySelectorAll(".curves svg path").length };
const named = () => document.querySelector(".task-name").textContent;
const before = named(), map = document.querySelector(".map svg:last-of-type");
const dots = document.querySelectorAll(".map svg circle"), far = dots[dots.length - 1].getBoundingClientRect();
const at = { clientX: far.x + far.width / 2, clientY: far.y + far.height / 2, bubbles: true, pointerType: "mouse" };
const chart = dots[0].closest("svg");
chart.dispatchEvent(new PointerEvent("pointerenter", at));
chart.dispatchEvent(new PointerEvent("pointermove", at));
found.hovered = named() !== before;
const legend = document.querySelectorAll(".legend button");
legend[0].click();
found.hidden = document.querySelectorAll(".curves svg path").length < found.lines;
legend[0].click();
const who = document.querySelector('.controls[data-for="tasks"] select');
const fill = () => [...document.querySelectorAll(".map circle")].map((dot) => dot.getAttribute("fill")).join();
const shown = fill();
who.value = who.options[1].value; who.dispatchEvent(new Event("change"));
found.another = fill() !== shown;
const head = document.querySelector("table.sortable thead th:nth-child(2)");
const first = () => document.querySelector("table.sortable tbody th").textContent;
head.click(); const best = first(); head.click();
found.sorted = best !== first();
found.overflow = document.documentElement.scrollWidth > document.documentElement.clientWidth;
found.ready = document.documentElement.dataset.ready; found.problems = problems;
document.body.dataset.found = JSON.stringify(found);
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_page([compare_runs(RUNS)], tmp_path_factory.mktemp("report") / "report.html")


def test_it_is_one_small_page_that_asks_the_network_for_nothing(page):
    text = page.read_text()
    assert page.stat().st_size < 2_000_000
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.S)  # the libraries' own comments name their homes
    assert not re.search(r"""(src|href)=["'](?!data:)""", outside)
    assert "default-src 'none'" in text


def test_it_opens_with_the_answer_in_a_sentence(page):
    answer = re.search(r'<p class="answer">(.*?)</p>', page.read_text(), re.S)
    assert html.unescape(answer[1]).startswith(
        "At the budget that each run was trained for, rl2 is best on held-out tasks: -28.1"
    )


def test_texts_of_others_are_text(tmp_path):
    assert "</script>" not in embedded({"name": "</script><script>alert(1)</script>"})
    assert json.loads(embedded({"name": "<&>"})) == {"name": "<&>"}
    folder = tmp_path / "<b>bold & <script>"
    shutil.copytree(RUNS[0], folder)
    text = write_page([compare_runs([folder])], tmp_path / "report.html").read_text()
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold &amp; &lt;script&gt;" in text


def test_it_shows_the_videos_and_embeddings_that_lie_in_the_runs(tmp_path):
    folder = tmp_path / "half_cheetah_vel_u03_rl2"
    shutil.copytree(RUNS[0], folder)
    run = folder / "seed-0"
    (run / "held-out-task-3.mp4").write_bytes(b"a video")
    (run / "train-task-4.mp4").write_bytes(b"of another split")
    (run / "held-out-task-5.mp4").write_bytes(b"v" * 400_000)  # no room
    (run / "embeddings").mkdir()
    (run / "embeddings" / "tasks.png").write_bytes(b"a picture")
    text = write_page([compare_runs([folder, *RUNS[1:]])], tmp_path / "report.html").read_text()
    data = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S)[1])
    (comparison,) = data
    videos = {task: [one["name"] for one in shown] for task, shown in comparison["explorer"]["videos"].items()}
    assert videos == {"3": ["rl2 on task 3"]}
    assert [one["name"] for one in comparison["embeddings"]] == ["rl2: tasks"]


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DrawingError, match="cannot be written"):
        write_page([compare_runs(RUNS[:1])], tmp_path / "file" / "report.html")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
@pytest.mark.parametrize("width", [1200, 390])
def test_its_charts_and_explorer_answer_in_a_browser(page, tmp_path, width):
    watched = tmp_path / "watched.html"
    text = page.read_text().replace("<head>", f"<head>{WATCH}", 1)
    watched.write_text(text.replace("</body>", f"{USE}</body>"))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},2000", "--dump-dom",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=5000", watched.as_uri(),
    ]  # fmt: skip
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    left = re.search(r'data-found="([^"]*)"', drawn)
    assert left, drawn[-2000:]
    found = json.loads(html.unescape(left[1]))
    assert found["problems"] == []
    assert found.pop("lines") >= len(RUNS)
    wanted = {"hovered", "hidden", "another", "sorted", "ready"}
    assert {name for name in wanted if found[name]} == wanted, found
    assert not found["overflow"], "the page is wider than the window"
