"""How good written answers are: BLEU, chrF, ROUGE, length, repetition and lost numbers."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from tinybert.errors import DataError

__all__ = ["MAIN", "measure", "rouge", "signatures", "words_of"]

MAIN = {"summarization": "rougeL", "translation": "chrf"}
# Chinese and Japanese characters; their punctuation (、。「」…) is in between.
_WIDE = r"[\u2e80-\u2fff\u3005-\u3007\u3021-\u302f\u3031-\u30fa\u30fc-\u9fff\uf900-\ufaff]"
_WORD = re.compile(rf"{_WIDE}|[^\W_]+?(?={_WIDE})|[^\W_]+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


def measure(
    task: str, answers: Sequence[str], references: Sequence[Sequence[str]], sources: Sequence[str]
) -> dict[str, float]:
    """Measure N answers.

    Args:
        task: ``translation`` or ``summarization``.
        answers: N texts.
        references: For each of them one right text, or several.
        sources: N texts that were answered.

    Returns:
        ``bleu`` and ``chrf`` (of all N together, 0..100); ``rouge1``, ``rouge2``, ``rougeL`` (means
        of F1, 0..100, each against the best reference); ``length_ratio`` (characters of answers
        against those of first references); ``repetition`` (share of an answer's word triples that
        came before in it); and in translation ``lost_numbers``: the share of the sources' numbers
        that are not in the answers, by their digits.

    Raises:
        DataError: No answers, or not as many of the one as of the other.
    """
    if not answers or not len(answers) == len(references) == len(sources):
        raise DataError(
            f"{len(answers)} answers, {len(references)} references, {len(sources)} sources; wanted "
            "as many of each, and one at least"
        )
    streams = _streams(references)
    rows = [
        [rouge(answer, one) for one in row] for answer, row in zip(answers, references, strict=True)
    ]
    found = {
        "bleu": float(_bleu(references).corpus_score(list(answers), streams).score),
        "chrf": float(CHRF().corpus_score(list(answers), streams).score),
    }
    for name in ("rouge1", "rouge2", "rougeL"):
        best = [max(one[name] for one in row) for row in rows]
        found[name] = 100 * sum(best) / len(best)
    wanted = sum(len(row[0]) for row in references)
    found["length_ratio"] = sum(map(len, answers)) / max(1, wanted)
    found["repetition"] = sum(map(_repetition, answers)) / len(answers)
    if task == "translation":
        found["lost_numbers"] = _lost_numbers(answers, sources)
    return found


def signatures(references: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return how sacrebleu computed ``bleu`` and ``chrf``, in its own words."""
    bleu, chrf = _bleu(references), CHRF()
    for metric in (bleu, chrf):
        metric.corpus_score([row[0] for row in references], _streams(references))
    return {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}


def rouge(answer: str, reference: str) -> dict[str, float]:
    """Return the F1 of shared words, word pairs and the longest common subsequence, 0..1.

    F1 = 2·P·R / (P + R), P the share of the answer's parts that are in the reference, R the other
    way round.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries".
    Differs: words are not stemmed; each Chinese character is a word.

    >>> rouge("the cat sat", "the cat slept")["rouge2"]
    0.5
    """
    a, b = words_of(answer), words_of(reference)
    found = {}
    for n in (1, 2):
        own, other = _grams(a, n), _grams(b, n)
        found[f"rouge{n}"] = _f1((own & other).total(), own.total(), other.total())
    found["rougeL"] = _f1(_common(a, b), len(a), len(b))
    return found


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters; each Chinese character is one."""
    return _WORD.findall(text.lower())


def _streams(references: Sequence[Sequence[str]]) -> Any:
    """Return first references, second ones and so on; None where a text has fewer."""
    most = max(len(row) for row in references)
    return [[row[i] if i < len(row) else None for row in references] for i in range(most)]


def _bleu(references: Sequence[Sequence[str]]) -> BLEU:
    """Return BLEU with the tokenizer of the references' language."""
    joined = "".join(row[0] for row in references)
    wide = len(re.findall(_WIDE, joined)) > 0.3 * len(joined)
    return BLEU(tokenize="zh" if wide else "13a")


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """Count runs of n words."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _f1(shared: int, own: int, other: int) -> float:
    """Return the harmonic mean of precision and recall."""
    return 2 * shared / (own + other) if shared else 0.0


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        last = 0
        for j, other in enumerate(b, start=1):
            last, row[j] = row[j], last + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]


def _repetition(answer: str) -> float:
    """Return the share of word triples that came before."""
    grams = _grams(words_of(answer), 3)
    return 1 - len(grams) / grams.total() if grams else 0.0


def _lost_numbers(answers: Sequence[str], sources: Sequence[str]) -> float:
    """Return the share of the sources' numbers whose digits are not in the answers."""
    lost = total = 0
    for answer, source in zip(answers, sources, strict=True):
        wanted, found = (Counter(map(_digits, _NUMBER.findall(t))) for t in (source, answer))
        total += wanted.total()
        lost += (wanted - found).total()
    return lost / total if total else 0.0


def _digits(number: str) -> str:
    """Return a number's digits; 1,000.5 and 1.000,5 have the same."""
    return "".join(str(unicodedata.digit(one)) for one in number if one.isdigit())
