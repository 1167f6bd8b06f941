"""Writes the tables of the READMEs and of docs/, and the chart of speeds, from ``bench/results``.

Examples:
    python bench/tables.py           refresh them
    python bench/tables.py --check   exit with 1 where they are stale
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from _details import details, gains, judge, mean, table
from _results import read
from _speeds import NAMES, chart, fastest
from tinybert.artifact import write_atomic

__all__ = ["READMES", "refresh"]

ROOT = Path(__file__).parent.parent
READMES = {
    "en": ROOT / "README.md",
    "zh": ROOT / "README.zh-CN.md",
    "details": ROOT / "docs" / "results.md",
    "recipe": ROOT / "docs" / "recipe.md",
}
CHART = ROOT / "docs" / "images" / "speed.svg"
START, END = "<!-- results -->", "<!-- /results -->"
WRITTEN = {"details": details, "recipe": gains}
LAYERS = (3, 2)
ENGLISH = ("helpdesk", "sst2", "banking77", "mrpc", "stsb", "cola")
CHINESE = ("helpdesk-zh", "chnsenticorp", "waimai", "tnews", "tnews-labelled")
PEERS = ("textbrewer", "model2vec")
SPEED = ("<!-- speed -->", "<!-- /speed -->")

WORDS: dict[str, dict[str, Any]] = {
    "en": {
        "helpdesk": "helpdesk, 12 intents",
        "sst2": "SST-2",
        "banking77": "Banking77",
        "mrpc": "MRPC, F1",
        "stsb": "STS-B, Pearson",
        "cola": "CoLA, Matthews (dev)",
        "helpdesk-zh": "helpdesk, 12 intents",
        "chnsenticorp": "ChnSentiCorp",
        "waimai": "waimai",
        "tnews": "TNEWS, 15 topics, unlabelled titles too",
        "tnews-labelled": "TNEWS, labelled titles alone",
        "average": "average kept",
        "seeds": "{title}; seeds: {count}",
        "head": "English|Teacher|3 layers|Kept|int8|2 layers|Kept|No teacher|TextBrewer|model2vec|"
        "TF-IDF",
        "note": "Test accuracy in percent where nothing else is said, mean ± standard deviation "
        "over {seeds} seeds. Kept: the student's share of the teacher's value. No teacher: the "
        "same 3 layers trained on the labels alone. TextBrewer: 3 layers, as many steps. TF-IDF: "
        "with logistic or ridge regression. int8 files: {sizes}. Machine: {machine}.",
        "chinese": "Chinese|Teacher|2 layers|Kept|int8|No teacher|TF-IDF",
        "chinese_note": "The teachers start from a small encoder made for these figures (four "
        "layers of width 256), as no pretrained Chinese one was at hand: what is kept of a weak "
        "teacher. "
        "int8 files: {sizes}. Machine: {machine}.",
        "size": "{mb:.1f} MB with {layers} layers",
        "cold": "From a cold process|First answer|Memory|One text, p50|Texts/s",
        "artifact": "artifact (int8), `tinybert.load`",
        "torch + transformers": "same student, torch + transformers",
        "cold_note": "Medians of {rounds} fresh processes each, in turn, one thread; tokenization "
        "included. Machine: {machine}.",
        "speed": "Texts a second|Threads",
        "fastest": "× fastest encoder",
        "loads": {"mix": "as they come, by {}", "sorted": "by length, by {}", "file": "{} texts"},
        "ids": "From token ids to logits, medians of rounds in which all take turns. Machine: "
        "{machine}.",
        "text": "From text to logits, medians of rounds in which all take turns. Machine: "
        "{machine}.",
        "none": "No figures yet: `make bench` writes them.",
    },
    "zh": {
        "helpdesk": "helpdesk，12 类意图",
        "sst2": "SST-2",
        "banking77": "Banking77",
        "mrpc": "MRPC，F1",
        "stsb": "STS-B，Pearson",
        "cola": "CoLA，Matthews（开发集）",
        "helpdesk-zh": "helpdesk，12 类意图",
        "chnsenticorp": "ChnSentiCorp",
        "waimai": "外卖评论（waimai）",
        "tnews": "TNEWS，15 类，含无标注标题",
        "tnews-labelled": "TNEWS，仅有标注标题",
        "average": "平均保留",
        "seeds": "{title}；种子：{count}",
        "head": "英文|教师|3 层|保留|int8|2 层|保留|无教师|TextBrewer|model2vec|TF-IDF",
        "note": "未注明者为测试集准确率（%），{seeds} 个种子的均值 ± 标准差。保留："
        "学生占教师的比例。无教师：同样 3 层，只用标签训练。"
        "TextBrewer：3 层，步数相同。TF-IDF：配逻辑回归或岭回归。"
        "int8 文件：{sizes}。机器：{machine}。",
        "chinese": "中文|教师|2 层|保留|int8|无教师|TF-IDF",
        "chinese_note": "没有可用的预训练中文编码器，教师从为此训练的小编码器"
        "（4 层，宽 256）开始微调："
        "数字说明弱教师的质量能保留多少。int8 文件：{sizes}。机器：{machine}。",
        "size": "{layers} 层 {mb:.1f} MB",
        "cold": "冷启动进程|首次回答|内存|单条文本 p50|条/秒",
        "artifact": "产物（int8），`tinybert.load`",
        "torch + transformers": "同一学生，torch + transformers",
        "cold_note": "各 {rounds} 个全新进程交替运行取中位数，单线程，含分词。机器：{machine}。",
        "speed": "条/秒|线程",
        "fastest": "× 最快的其他编码器",
        "loads": {"mix": "原顺序，每批 {}", "sorted": "按长度排序，每批 {}", "file": "{} 条文本"},
        "ids": "从词元编号到 logits，各系统交替运行取中位数。机器：{machine}。",
        "text": "从文本到 logits，各系统交替运行取中位数。机器：{machine}。",
        "none": "尚无数据：运行 `make bench` 生成。",
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing")
    stale = []
    check = parser.parse_args().check
    for language, path in READMES.items():
        old = path.read_text(encoding="utf-8")
        new = refresh(old, language)
        if new != old:
            stale.append(path.name)
            if not check:
                write_atomic(path, new.encode())
    drawn = chart()
    if drawn is not None and (not CHART.is_file() or CHART.read_bytes() != drawn):
        stale.append(CHART.name)
        if not check:
            CHART.parent.mkdir(exist_ok=True)
            write_atomic(CHART, drawn)
    print(f"stale: {', '.join(stale)}" if check and stale else f"refreshed: {', '.join(stale)}")
    sys.exit(1 if check and stale else 0)


def refresh(readme: str, language: str) -> str:
    """Return a document's text with the tables of today's results between its markers.

    A README with the markers ``<!-- speed -->`` and ``<!-- /speed -->`` gets the table of speeds
    between them.
    """
    if language != "details" and SPEED[0] in readme:
        before, _, rest = readme.partition(SPEED[0])
        after = rest.partition(SPEED[1])[2]
        readme = f"{before}{SPEED[0]}\n{speed(language)}\n{SPEED[1]}{after}"
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"wanted the markers {START} and {END}")
    if language in WRITTEN:
        body = WRITTEN[language]()
    else:
        tables = (quality(language), chinese(language), cold(language))
        parts = [part for part in tables if part]
        body = "\n\n".join(parts or [WORDS[language]["none"]])
    return f"{before}{START}\n{body}\n{END}{after}"


def quality(language: str) -> str:
    """Return the table of students beside their teacher, other tools and baselines."""
    words = WORDS[language]
    found = {name: content for name in ENGLISH if (content := read(f"quality-{name}")) is not None}
    rows = [row for content in found.values() for row in content["rows"]]
    if not rows:
        return ""
    seeds = len({row["seed"] for row in rows})
    lines = [_line(words, seeds, name, content["rows"]) for name, content in found.items()]
    lines.append(
        [words["average"], "", "", _average(rows, 3), "", "", _average(rows, 2), *[""] * 4]
    )
    note = words["note"].format(seeds=seeds, **_costs(words, found))
    return f"{table(words['head'].split('|'), lines)}\n\n{note}"


def chinese(language: str) -> str:
    """Return the table of students of the Chinese teachers."""
    words = WORDS[language]
    found = {name: content for name in CHINESE if (content := read(f"quality-{name}")) is not None}
    lines = []
    for name, content in found.items():
        rows, split = content["rows"], judge(content["rows"])
        count = len({row["seed"] for row in rows})
        title = words["seeds"].format(title=words[name], count=count)
        cells = [title, mean(rows, f"{split}_teacher"), f"**{mean(rows, f'{split}_student')}**"]
        cells += [f"**{mean(rows, 'kept')}**", mean(rows, f"{split}_int8")]
        cells += [mean(rows, f"{split}_label_only")]
        lines.append([*cells, mean(rows, f"{split}_tfidf", spread=False)])
    if not lines:
        return ""
    note = words["chinese_note"].format(**_costs(words, found))
    return f"{table(words['chinese'].split('|'), lines)}\n\n{note}"


def _costs(words: dict[str, str], found: dict[str, Any]) -> dict[str, str]:
    """Return what a table's note says of sizes and of the machine."""
    rows = [row for content in found.values() for row in content["rows"]]
    sizes = "; ".join(
        words["size"].format(mb=statistics.mean(row["int8_mb"] for row in own), layers=layers)
        for layers in LAYERS
        if (own := [row for row in rows if row["layers"] == layers])
    )
    machines = dict.fromkeys(content["machine"] for content in found.values())
    return {"sizes": sizes, "machine": "; ".join(machines)}


def _line(words: dict[str, str], seeds: int, name: str, rows: list[dict[str, Any]]) -> list[str]:
    """Return a set's line, which says so where it has fewer seeds than there are."""
    count, title = len({row["seed"] for row in rows}), words[name]
    title = words["seeds"].format(title=title, count=count) if count < seeds else title
    split = judge(rows)
    three, two = ([row for row in rows if row["layers"] == layers] for layers in LAYERS)
    cells = [title, mean(three or rows, f"{split}_teacher")]
    cells += [f"**{mean(three, f'{split}_student')}**", f"**{mean(three, 'kept')}**"]
    cells += [mean(three, f"{split}_int8")]
    cells += [f"**{mean(two, f'{split}_student')}**", f"**{mean(two, 'kept')}**"]
    cells += [mean(three, f"{split}_label_only")]
    peers = (read(f"peers-{name}") or {"rows": []})["rows"]
    for system in PEERS:
        own = [row for row in peers if row["system"] == system and row["layers"] in (3, None)]
        cells.append(mean(own, split))
    return [*cells, mean(rows, f"{split}_tfidf", spread=False)]


def _average(rows: list[dict[str, Any]], layers: int) -> str:
    """Return the mean over sets of what students of so many layers keep."""
    kept: dict[str, list[float]] = {}
    for row in rows:
        if row["layers"] == layers and row["kept"] is not None:
            kept.setdefault(row["set"], []).append(row["kept"])
    if not kept:
        return "–"
    return f"**{100 * statistics.mean(statistics.mean(own) for own in kept.values()):.1f}**"


def cold(language: str) -> str:
    """Return the table of start-up."""
    words, content = WORDS[language], read("cold")
    if content is None:
        return ""
    lines = [
        [
            words[row["system"]],
            f"{row['first_answer_s']:.2f} s",
            f"{row['first_answer_mb']:.0f} MB",
            f"{row['p50_ms']:.1f} ms",
            f"{row['texts_per_s']:,.0f}",
        ]
        for row in content["rows"]
    ]
    note = words["cold_note"].format(
        rounds=content["rows"][0]["rounds"], machine=content["machine"]
    )
    return f"{table(words['cold'].split('|'), lines)}\n\n{note}"


def speed(language: str) -> str:
    """Return the table of the mixed lengths: texts a second, all threads, from token ids."""
    words, content = WORDS[language], read("speed")
    if content is None:
        return ""
    found = [row["from"] for row in content["rows"]]
    start = "ids" if "ids" in found else "text"
    rows = [
        row
        for row in content["rows"]
        if row["from"] == start and row["load"].split(" ")[0] in words["loads"]
    ]
    keys = [key for key in NAMES if any(f"{key}_ms" in row for row in rows)]
    lines = [
        [words["loads"][row["load"].split(" ")[0]].format(row["load"].split(" ")[-1])]
        + [str(row["threads"])]
        + [f"{1e3 / row[f'{key}_ms']:,.0f}" if f"{key}_ms" in row else "–" for key in keys]
        + [f"**{fastest(row):.1f}**"]
        for row in rows
    ]
    header = [*words["speed"].split("|"), *(NAMES[key] for key in keys), words["fastest"]]
    return f"{table(header, lines)}\n\n{words[start].format(machine=content['machine'])}"


if __name__ == "__main__":
    main()
