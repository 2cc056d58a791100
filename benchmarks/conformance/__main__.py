"""What captum, shap and tangermeme publish of DeepLIFT, row by row: `docs/conformance.md`.

python -m benchmarks.conformance [--markdown] > docs/conformance.md
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from importlib import import_module

TORCH = ("captum_rows", "captum_part_rows", "shap_rows", "tangermeme_rows")
TENSORFLOW = "shap_tensorflow_rows"
WORDS = ("agrees", "differs", "refused", "not expressed")
Line = dict[str, str]

HEAD = """# Conformance: what others publish

The test suites of [captum](https://github.com/pytorch/captum), [shap](https://github.com/shap/shap) and
[tangermeme](https://github.com/jmschrei/tangermeme) say what DeepLIFT is to give on small models. Here is every
such test of theirs, and what PairLift gives. Models are restated, numbers are theirs, and each row that does not
agree has its reason. Rows that agree are tests of PairLift's own (`tests/test_conformance.py`).

This page is made: `python -m benchmarks.conformance --markdown > docs/conformance.md`.
"""


def lines(module: str) -> list[Line]:
    """The rows of one module, judged."""
    from benchmarks.conformance.published import judge

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in import_module(f"benchmarks.conformance.published.{module}").ROWS:
            verdict = judge(row)
            told = {"source": row.source, "test": row.test, "model": row.model, "expected": row.expected}
            found.append({**told, "ours": verdict.ours, "verdict": verdict.word, "reason": row.reason})
    return found


def on_tensorflow() -> list[Line]:
    """Those of TensorFlow, in a process without PyTorch."""
    command = [sys.executable, "-m", "benchmarks.conformance", "--json", TENSORFLOW]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def name_of(line: Line) -> str:
    return line["test"].split("::")[1]


def tally(found: Sequence[Line]) -> list[str]:
    """A table of verdicts by package."""
    rows = [f"| | rows | {' | '.join(WORDS)} |", f"| --- |{' ---: |' * (len(WORDS) + 1)}"]
    for source in [*dict.fromkeys(line["source"] for line in found), "all"]:
        own = [line for line in found if source in (line["source"], "all")]
        counted = Counter(line["verdict"] for line in own)
        rows.append(f"| {source} | {len(own)} | {' | '.join(str(counted[word]) for word in WORDS)} |")
    return rows


def markdown(found: Sequence[Line]) -> str:
    reasons = list(dict.fromkeys(line["reason"] for line in found if line["reason"]))
    parts = [HEAD, *tally(found), "", "## Reasons", ""]
    parts += [f"{number}. {reason[0].upper()}{reason[1:]}." for number, reason in enumerate(reasons, 1)]
    for source in dict.fromkeys(line["source"] for line in found):
        parts += [
            "",
            f"## {source}",
            "",
            "| test | model | published | PairLift | verdict |",
            "| --- | --- | --- | --- | --- |",
        ]
        for line in found:
            if line["source"] == source:
                why = f", reason {reasons.index(line['reason']) + 1}" if line["reason"] else ""
                cells = [f"`{name_of(line)}`", line["model"], line["expected"], line["ours"], line["verdict"] + why]
                parts.append(f"| {' | '.join(cells)} |")
        files = dict.fromkeys(line["test"].split("::")[0] for line in found if line["source"] == source)
        parts += ["", f"In {', '.join(f'`{file}`' for file in files)}."]
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="the page docs/conformance.md")
    parser.add_argument("--json", metavar="MODULE", help="one module's rows as a line of JSON")
    options = parser.parse_args(arguments)
    if options.json:
        print(json.dumps(lines(options.json)))
        return
    found = sorted(
        [*(line for module in TORCH for line in lines(module)), *on_tensorflow()], key=lambda line: line["source"]
    )
    if options.markdown:
        print(markdown(found))
        return
    for line in found:
        print(f"{line['verdict']:13}  {line['source']:10}  {name_of(line)}  {line['ours']}  {line['reason']}")
    print("\n".join(tally(found)))


if __name__ == "__main__":
    main()
