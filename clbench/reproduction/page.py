"""The page: every published number next to ours, with the verdict and the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from clbench.metrics.statistics import interval, mean
from clbench.reproduction.experiments import Row
from clbench.reproduction.verdict import judge, tolerance
from clbench.utils.markup import markdown, markdown_code

INTRODUCTION = """\
# Published tables, reproduced

The source above each table published its numbers. Our numbers come from the experiment in the row, which is the file
`conf/experiment/NAME.yaml`. They are the mean over n seeds ± half the width of the 95 % Student-t interval. A published number is
the mean over n runs ± their standard deviation, if it was published. Nothing was tuned: all hyper-parameters are those of the
source.

Tolerance, fixed before the runs: max(1 point, 2 √(s_pub²/n_pub + s_ours²/n_ours)); 2 points if no standard deviation was
published. `clbench-reproduce` writes this page; do not edit it.
"""
NO_GPU = "needs a GPU: hours per seed on a CPU"
UNKNOWN = "not explained yet"
HEADER = "| experiment | setting | published | ours | n | tolerance | difference | verdict | reason |"
RULE = "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |"


def render(rows: Sequence[Row]) -> str:
    """Return the page as Markdown: one table per source, in the order of `rows`."""
    verdicts = [judge(row.published, row.ours(), row.failed()) for row in rows]
    parts = [INTRODUCTION, tally(verdicts), ""]
    for source in dict.fromkeys(row.claim.source for row in rows):
        parts += [f"## {markdown(source)}", "", HEADER, RULE]
        of_source = [row for row in rows if row.claim.source == source]
        parts += [*(line(row) for row in of_source), "", *spreads(of_source)]
    return "\n".join(parts)


def spreads(rows: Sequence[Row]) -> list[str]:
    """Return one paragraph per additional source of standard deviations."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.claim.std_source and row.setting in row.claim.std:
            found.setdefault(row.claim.std_source, []).append(f"{markdown_code(row.experiment)} {markdown(row.setting)}")
    return [
        text
        for source, names in found.items()
        for text in (f"Standard deviations from {markdown(source)}: {', '.join(names)}.", "")
    ]


def tally(verdicts: Sequence[str]) -> str:
    """Return the number of rows with each verdict, as a sentence."""
    count = Counter(verdicts)
    judged = len(verdicts) - count["not run"] - count["failed seeds"]
    share = f" ({100 * count['inside'] / judged:.0f} %)" if judged else ""
    text = f"**{judged} rows judged: {count['inside']} inside{share}, {count['above']} above, {count['below']} below.**"
    parts = {"not run": "not run", "failed seeds": "not judged, because seeds failed"}
    return text + "".join(f" {count[key]} {words}." for key, words in parts.items() if count[key])


def line(row: Row) -> str:
    """Return one row of the table."""
    published, ours, failed = row.published, row.ours(), row.failed()
    verdict = judge(published, ours, failed)
    spread = f" ± {published.std:.2f}" if published.std is not None else ""
    runs = f" (n={published.n})" if published.n is not None else ""
    cells = [markdown_code(row.experiment), markdown(row.setting), f"{published.value:.2f}{spread}{runs}"]
    if ours:
        found = interval(ours)
        width = f" ± {found.half_width:.2f}" if found.half_width is not None else ""
        difference = mean(ours) - published.value
        n = f"{found.n} of {found.n + failed}" if failed else str(found.n)
        cells += [f"{found.mean:.2f}{width}", n, f"{tolerance(published, ours):.2f}", f"{difference:+.2f}"]
    else:
        cells += ["–", f"0 of {failed}" if failed else "0", "–", "–"]
    bold = verdict in ("above", "below", "failed seeds")
    return f"| {' | '.join([*cells, f'**{verdict}**' if bold else verdict, markdown(reason(row, verdict))])} |"


def reason(row: Row, verdict: str) -> str:
    """Return the reason why a row is not inside the tolerance; empty if it is inside."""
    if verdict == "inside":
        return ""
    if verdict == "failed seeds":
        return "no verdict on the seeds that ended alone"
    if verdict == "not run":
        return NO_GPU if row.claim.gpu else row.claim.reason.get(row.setting, "")
    return row.claim.reason.get(row.setting, UNKNOWN)
