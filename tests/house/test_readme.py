"""What the documents say holds: tables are fresh, links lead somewhere, commands exist."""

import json
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from tinybert import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.fixture
def tables(monkeypatch):
    names = ("tables", "_details", "_results", "_sets", "_speeds")
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import tables

    yield tables
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("language", ["en", "zh", "details", "recipe"])
def test_tables_are_fresh(tables, language):
    text = tables.READMES[language].read_text(encoding="utf-8")
    assert tables.refresh(text, language) == text, "stale: run python bench/tables.py"


def test_both_languages_tell_the_same_figures():
    def figures(name):
        text = (ROOT / name).read_text(encoding="utf-8")
        block = re.search(r"<!-- results -->(.*)<!-- /results -->", text, re.DOTALL).group(1)
        return [re.findall(r"\d+\.\d+", line) for line in block.splitlines() if line[:1] == "|"]

    assert figures("README.md") == figures("README.zh-CN.md")


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_speeds_that_are_told_were_measured(name):
    import _results
    import _speeds

    rows = _results.read("speed")["rows"]
    mixes = [r for r in rows if r["load"].startswith(("mix", "sorted")) and r["threads"] == 1]
    engine = [_speeds.fastest(row) for row in mixes if row["from"] == "text"]
    base = [
        row["faster_than_bert_base"]
        for run, content in _results.read_all("ratio").items()
        if run.endswith("mb")
        for row in content["rows"]
    ]
    text = (ROOT / name).read_text(encoding="utf-8")
    pairs = re.findall(r"([\d.]+) (?:to|到) ([\d.]+) (?:times as fast|倍)", text)
    assert pairs == [
        (f"{min(engine):.1f}", f"{max(engine):.1f}"),
        (f"{min(base) // 10 * 10:.0f}", f"{round(max(base), -1):.0f}"),
    ]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_what_translations_are_said_to_keep_was_measured(name):
    import _results

    rows = {row["system"]: row for row in _results.read_all("seq2seq")["multi30k"]["rows"]}
    beams = _results.read_all("writing")["multi30k-0"]["rows"]
    own, whole = rows["int8"], rows["teacher"]["bleu"]
    said = {f"{own['bleu']:.1f} BLEU", f"{own['mb']:.1f} MB", f"{100 * own['bleu'] / whole:.1f} %"}
    text = (ROOT / name).read_text(encoding="utf-8")
    (line,) = (part for part in re.split(r"\n- ", text) if "tinybert seq2seq" in part)
    assert set(re.findall(r"[\d.]+ (?:BLEU|MB|%)", line)) == said
    faster = min(row["faster_than_teacher_torch"] for row in beams)
    assert re.search(r"(\d+) (?:times as fast|倍)", line).group(1) == f"{faster:.0f}"


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_what_is_said_of_sentence_vectors_was_measured(name):
    import _results

    rows = _results.read("embeddings-stsb")["rows"]

    def told(system, layers):
        own = [row for row in rows if (row["system"], row["layers"]) == (system, layers)]
        return f"{100 * sum(row['test'] for row in own) / len(own):.1f}", f"{own[0]['mb']:.1f}"

    text = (ROOT / name).read_text(encoding="utf-8")
    (line,) = (part for part in re.split(r"\n- ", text) if "tinybert embed" in part)
    three, two = told("int8", 3), told("int8", 2)
    said = {*three, two[0], told("teacher", None)[0], told("model2vec", None)[0]}
    assert set(re.findall(r"\d+\.\d", line)) == said


def test_tables_from_results(tables, tmp_path, monkeypatch):
    import _results

    monkeypatch.setattr(_results, "RESULTS", tmp_path)
    rows = [
        {"set": "helpdesk", "layers": 3, "seed": seed, "test_teacher": 0.9, "test_student": value,
         "kept": value / 0.9, "test_int8": value, "test_tfidf": 0.7, "test_majority": 0.1,
         "int8_mb": 18.0}
        for seed, value in enumerate((0.88, 0.89, 0.9))
    ]  # fmt: skip
    path = _results.write("quality-helpdesk", rows, "python bench/quality.py", "00ff", threads=1)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert list(content) == [
        *("name", "command", "commit", "machine", "threads", "when", "versions", "data_sha256"),
        "rows",
    ]
    old = "before\n<!-- results -->\nold\n<!-- /results -->\nafter"
    new = tables.refresh(old, "en")
    assert new.startswith("before\n<!-- results -->\n| English")
    assert new.endswith("<!-- /results -->\nafter")
    assert (
        "| 90.0 ± 0.0 | **89.0 ± 1.0** | **98.9 ± 1.1** | 89.0 ± 1.0 | **–** | **–** | – | – |"
        in new
    )
    assert "| average kept |  |  | **98.9** |  |  | – |" in new
    assert "18.0 MB with 3 layers" in new
    chinese = [row | {"set": "waimai", "layers": 2, "int8_mb": 4.0} for row in rows[:1]]
    _results.write("quality-waimai", chinese, "python bench/quality.py")
    new = tables.refresh(old, "en")
    assert "| waimai; seeds: 1 | 90.0 | **88.0** | **97.8** | 88.0 | – | 70.0 |" in new
    assert "int8 files: 4.0 MB with 2 layers." in new
    assert "| 外卖评论（waimai）；种子：1 | 90.0 |" in tables.refresh(old, "zh")
    assert tables.refresh(new, "en") == new
    with pytest.raises(ValueError, match="wanted the markers"):
        tables.refresh("no markers", "en")


def test_details_from_results(tables, tmp_path, monkeypatch):
    import _results

    monkeypatch.setattr(_results, "RESULTS", tmp_path)
    row = {"set": "cola", "layers": 3, "seed": 0, "metric": "matthews", "dev_teacher": 0.5,
           "dev_student": 0.4, "dev_int8": 0.39, "kept": 0.8, "kept_on": "dev", "dev_tfidf": 0.1,
           "dev_majority": 0.0, "int8_dev_flips": 0.004, "int8_of_fp32": 0.258}  # fmt: skip
    other = row | {"seed": 1, "int8_dev_flips": 0.006}
    _results.write("quality-cola", [row, other], "python bench/quality.py")
    peer = {"set": "cola", "layers": None, "seed": 0, "metric": "matthews", "system": "model2vec",
            "dev": 0.2, "steps": None, "mb": 30.0}  # fmt: skip
    _results.write("peers-cola", [peer], "python bench/peers.py")
    small = row | {"layers": 2, "settings": {"student.embedding": "64"}, "int8_mb": 3.4}
    _results.write("quality-cola-4mb", [small], "python bench/quality.py")
    part = {"variant": "random-start", "dev_student": 0.3}
    before = {"shape": "2-layers", "start": "random", "general_tokens": 4_900_000}
    _results.write("general-cola", [row | before], "python bench/general.py")
    vectors = {"set": "stsb", "metric": "spearman", "dev": 0.8, "mb": 17.9}
    _results.write(
        "embeddings-stsb",
        [
            vectors | {"system": "teacher", "layers": None, "seed": None, "test": 0.8},
            *(
                vectors | {"system": "int8", "layers": 3, "seed": seed, "test": value}
                for seed, value in enumerate((0.76, 0.72))
            ),
        ],
        "python bench/embeddings.py",
    )
    whole = [row | {"variant": "whole"}, other | {"variant": "whole", "dev_student": 0.9}]
    _results.write("ablation-cola", [*whole, row | part], "python bench/ablation.py")
    _results.write("speed", SPEED, "python bench/speed.py", more={"contestants": CONTESTANTS})
    peak = {"isa": "avx2", "shape": "3x384x12x1536", "peak_gops": 224.0, "products_gops": 137.4,
            "bare_share": 0.65, "products_share": 0.613}  # fmt: skip
    _results.write("peak", [peak], "python bench/peak.py")
    new = tables.refresh("<!-- results -->\n<!-- /results -->", "details")
    for line in (
        "| cola | matthews, dev | 3 | 2 | 50.0 ± 0.0 | **40.0 ± 0.0** | **80.0 ± 0.0** | 39.0 ± 0.0",
        "| cola | 3 | 2 | 0.50 % | 0.60 % | -1.0 ± 0.0 | 25.8 % |",
        "| cola | 2 | student.embedding 64 | 1 | 50.0 | 40.0 | **80.0** | 39.0 | 3.4 MB |",
        "| cola | matthews, dev | model2vec | 1 | 20.0 | – | 30.0 MB |",
        "| cola | matthews | 3 | random-start | 1 | 30.0 | – |",
        "| 1x25 | 1 | **0.50** | 1.00 (2.0) | 4.00 (8.0) | **2.0** |\n",
        "| cola | matthews, dev | 2-layers | random | 1 | 4.9 M | 40.0 | **40.0** | 80.0 |",
        "| stsb | int8 | 3 | 2 | 80.0 ± 0.0 | **74.0 ± 2.8** | 92.5 ± 3.5 | 17.9 MB |",
        "| mix at 8 | 2 | **0.60** | 1.20 (2.0) | 4.50 (7.5) | 0.10 (0.2) | **2.0** | 17 % |",
        "| OpenVINO int8 | OpenVINO | – | skipped: not installed: no |",
        "| ONNX Runtime int8 | the same file | 17.6 MB | 0.39 % |",
        "| avx2 | 3x384x12x1536 | 224 | 137 | 65 % | **61 %** |",
    ):
        assert line in new
    assert tables.refresh(new, "details") == new
    recipe = tables.refresh("<!-- results -->\n<!-- /results -->", "recipe")
    assert "| the start from the teacher's layers | random weights | +10.0 |" in recipe


SPEED = [
    {"load": "1x25", "threads": 1, "from": "ids", "native_ms": 0.5, "onnx_ms": 1.0, "torch_ms": 4.0,
     "faster_than_onnx": 2.0, "faster_than_torch": 8.0},
    {"load": "mix at 8", "threads": 1, "from": "ids", "native_ms": 0.5, "onnx_ms": 1.0,
     "faster_than_onnx": 2.0},
    {"load": "mix at 8", "threads": 2, "from": "text", "native_ms": 0.6, "onnx_ms": 1.2,
     "torch_ms": 4.5, "model2vec_ms": 0.1, "faster_than_onnx": 2.0, "faster_than_torch": 7.5,
     "faster_than_model2vec": 0.2, "tokenize_share": 0.17},
]  # fmt: skip
CONTESTANTS = {
    "onnx": {"what": "the same file", "mb": 17.6, "flips": 0.0039},
    "openvino": {"what": "OpenVINO", "skipped": "not installed: no"},
}


def test_a_table_and_a_chart_of_speeds(tables, tmp_path, monkeypatch):
    import _results
    import _speeds

    monkeypatch.setattr(_results, "RESULTS", tmp_path)
    assert _speeds.chart() is None
    _results.write("speed", SPEED, "python bench/speed.py")
    old = "<!-- speed -->\nold\n<!-- /speed -->\n<!-- results -->\n<!-- /results -->"
    for language, line in (
        ("en", "| as they come, by 8 | 1 | 2,000 | 1,000 | **2.0** |"),
        ("zh", "| 原顺序，每批 8 | 1 | 2,000 | 1,000 | **2.0** |"),
    ):
        new = tables.refresh(old, language)
        assert line in new
        assert "old" not in new
        assert tables.refresh(new, language) == new
    drawn = _speeds.chart()
    assert drawn == _speeds.chart()
    assert b"Own engine" in drawn
    assert b"2,000" in drawn


def test_the_chart_is_fresh(tables):
    import _speeds

    assert tables.CHART.read_bytes() == _speeds.chart(), "stale: run python bench/tables.py"


def test_results_name_their_origin():
    for path in (ROOT / "bench" / "results").glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        assert content["name"] == path.stem
        assert content["rows"]
        assert re.fullmatch(r"[0-9a-f]{7,40}(\+changes)?", content["commit"]), path.name
        assert "/" not in content["machine"]
        assert "/root" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def commands(page):
    """Return the tinybert command lines that a page shows."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`((?:[^`]*\| )?tinybert [a-z][^`]*)`", text)
    for line in lines:
        for part in re.split(r"\s(?:&&|\|)\s", re.sub(r"\s#.*", "", line)):
            words = shlex.split(re.sub(r"[<>]\s*\S+", "", part))
            if words[:1] == ["tinybert"] and len(words) > 1:
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_parse(page):
    group = typer.main.get_command(cli.app)
    for name, *arguments in commands(page):
        assert name in group.commands, f"{page.name}: tinybert {name}"
        if len(arguments) > 1 or any(a.startswith("-") for a in arguments):
            group.commands[name].make_context(name, list(arguments))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_code_blocks_are_whole(page):
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(block, page.name, "exec")
    for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
        from tinybert.distill.recipe import Recipe

        Recipe.model_validate(tomllib.loads(block))


def test_shown_commands_are_found():
    assert ["predict", "runs/messages/artifact", "my card was charged twice"] in [
        *commands(ROOT / "README.md")
    ]
