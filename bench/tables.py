"""Writes the result tables of the READMEs and of docs/results.md from ``bench/results/*.json``.

Examples:
    python bench/tables.py           refresh README.md, README.zh-CN.md and docs/results.md
    python bench/tables.py --check   exit with 1 where they are stale
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from _details import details, mean, table
from _results import read
from tinybert.artifact import write_atomic

__all__ = ["READMES", "refresh"]

ROOT = Path(__file__).parent.parent
READMES = {
    "en": ROOT / "README.md",
    "zh": ROOT / "README.zh-CN.md",
    "details": ROOT / "docs" / "results.md",
}
START, END = "<!-- results -->", "<!-- /results -->"
QUALITY = ("quality-helpdesk", "quality-sst2-sentences", "quality-sst2")

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "helpdesk": "helpdesk (English, 12 intents)",
        "sst2-sentences": "SST-2, whole sentences",
        "sst2": "SST-2, full train set",
        "head": "Data|Layers|Seeds|Teacher|Student|Kept|int8|No teacher|TF-IDF|Majority|int8 file",
        "note": "Test accuracy in percent, mean ± standard deviation over the seeds. Kept: the "
        "student's share of the teacher's accuracy. No teacher: the same student trained on the "
        "labels alone. TF-IDF: with logistic regression. Machine: {machine}.",
        "cold": "From a cold process|First answer|Memory|One text, p50|Texts/s",
        "artifact": "artifact (int8), `tinybert.load`",
        "torch + transformers": "same student, torch + transformers",
        "cold_note": "Medians of {rounds} fresh processes each, in turn, one thread; tokenization "
        "included. Machine: {machine}.",
        "none": "No figures yet: `make bench` writes them.",
    },
    "zh": {
        "helpdesk": "helpdesk（英文，12 类意图）",
        "sst2-sentences": "SST-2，整句",
        "sst2": "SST-2，完整训练集",
        "head": "数据|层数|种子|教师|学生|保留|int8|无教师|TF-IDF|多数类|int8 文件",
        "note": "测试集准确率（%），各种子的均值 ± 标准差。保留：学生准确率占教师的比例。"
        "无教师：同一学生只用标签训练。TF-IDF：配逻辑回归。机器：{machine}。",
        "cold": "冷启动进程|首次回答|内存|单条文本 p50|条/秒",
        "artifact": "产物（int8），`tinybert.load`",
        "torch + transformers": "同一学生，torch + transformers",
        "cold_note": "各 {rounds} 个全新进程交替运行取中位数，单线程，含分词。机器：{machine}。",
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
    print(f"stale: {', '.join(stale)}" if check and stale else f"refreshed: {stale}")
    sys.exit(1 if check and stale else 0)


def refresh(readme: str, language: str) -> str:
    """Return a document's text with the tables of today's results between its markers."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"wanted the markers {START} and {END}")
    if language == "details":
        body = details()
    else:
        parts = [part for part in (quality(language), cold(language)) if part]
        body = "\n\n".join(parts or [WORDS[language]["none"]])
    return f"{before}{START}\n{body}\n{END}{after}"


def quality(language: str) -> str:
    """Return the table of students beside their teacher and baselines."""
    words = WORDS[language]
    found = [content for name in QUALITY if (content := read(name)) is not None]
    lines = []
    for content in found:
        groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for row in content["rows"]:
            groups.setdefault((row["set"], row["layers"]), []).append(row)
        for (name, layers), rows in sorted(groups.items(), key=lambda item: -item[0][1]):
            seeds = len({row["seed"] for row in rows})
            cells = [words[name], str(layers), str(seeds), mean(rows, "test_teacher")]
            cells += [f"**{mean(rows, 'test_student')}**", f"**{mean(rows, 'kept')}**"]
            cells += [mean(rows, f"test_{key}") for key in ("int8", "label_only", "tfidf")]
            cells += [mean(rows, "test_majority", spread=False)]
            cells += [f"{statistics.mean(row['int8_mb'] for row in rows):.1f} MB"]
            lines.append(cells)
    if not lines:
        return ""
    machine = "; ".join(dict.fromkeys(content["machine"] for content in found))
    note = words["note"].format(machine=machine)
    return f"{table(words['head'].split('|'), lines)}\n\n{note}"


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


if __name__ == "__main__":
    main()
