"""
Writes what a run of the benchmarks measured into docs/performance.md, and its plots into docs/images.

    make bench-page FROM=build/bench-full.jsonl
    make bench-page FROM="build/bench-full.jsonl build/again.jsonl"

The page's own words say what is measured and how; every figure on it, and what falls short, comes from the files.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.cases import BY_NAME, ROOT
from tests.benchmarks.drawing import Bar, bars, curves, shown
from tests.benchmarks.rounds import Measured
from tests.benchmarks.targets import (
    GOALS,
    GROWTH,
    TARGETS,
    Round,
    Runs,
    Verdict,
    exponents,
    quiet_ones,
    rounds_of,
    verdicts,
)
from tests.blocks import write_block

PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
STYLES = {"met the aim": "good", "met": "good", "aim missed": "odd", "missed": "bad", "": "other"}


class Compared(NamedTuple):
    """A table of contenders, and the plot beside it."""

    block: str
    case: str
    columns: dict[str, tuple[str, str]]
    """The title and unit of each figure; the first one is plotted, and the rows go by it."""
    plot: str
    """Its title; "": there is none."""


LATE = {
    "p99_ms": ("99 of 100", "ms"),
    "p50_ms": ("half", "ms"),
    "max_ms": ("the latest", "ms"),
    "fired": ("of all due", ""),
}
# fmt: off - a table
COMPARED = (
    Compared(
        "suspending",
        "burst, 10k suspending",
        {"cpu_us": ("CPU per run", "µs")},
        "CPU time of a run that suspends once, 10,000 at one instant, in µs",
    ),
    Compared("random", "lateness, 1k at random", LATE, ""),
    Compared("random-10k", "lateness, 10k at random", LATE, ""),
    Compared(
        "aligned",
        "lateness, 1k on the second",
        LATE,
        "Lateness that 99 of 100 runs do not exceed, 1,000 on the same second, in ms",
    ),
    Compared("idle", "idle", {"cpu_ms_per_min": ("CPU a minute", "ms"), "wakes_per_30s": ("wake-ups in 30 s", "")}, ""),
    Compared("adding", "adding", {"cpu_us": ("CPU per job", "µs")}, ""),
    Compared("memory", "memory", {"bytes": ("per job", "B")}, "Memory of a job before its first run, in bytes"),
    Compared("import", "import", {"cpu_ms": ("CPU", "ms")}, "CPU time of an import, in ms"),
    Compared(
        "lines",
        "cron lines",
        {
            "every5_utc_us": ("`*/5`, UTC", "µs"),
            "every5_new_york_us": ("`*/5`, New York", "µs"),
            "leap_day_us": ("29 February", "µs"),
            "weekdays_us": ("`MON-FRI`", "µs"),
            "read_us": ("to read", "µs"),
        },
        "CPU time of the next slot of */5 in UTC, in µs",
    ),
    Compared("in-process", "request in process", {"cpu_us": ("CPU", "µs")}, ""),
    Compared(
        "loopback",
        "request over loopback",
        {"cpu_us": ("CPU", "µs"), "p50_us": ("half took", "µs")},
        "CPU time of a POST over a new loopback connection, in µs",
    ),
)
# fmt: on


def read(path: Path) -> tuple[dict[str, Any], Runs]:
    """Return the machine, and what was measured on it."""
    machine: dict[str, Any] = {}
    runs: dict[str, Measured] = defaultdict(list)
    for text in path.read_text("utf-8").splitlines():
        record = json.loads(text)
        if record["kind"] == "machine":
            machine = record
            continue
        rounds = runs[record["case"]]
        while len(rounds) <= record["round"]:
            rounds.append({})
        figures = {name: value for name, value in record.items() if isinstance(value, float | int)}
        rounds[record["round"]][record["contender"]] = figures
    return machine, runs


def merged(files: Sequence[tuple[dict[str, Any], Runs]]) -> tuple[dict[str, Any], Runs]:
    """
    Return them as one: each case comes whole from the last file that has it.

    A ratio, a table and an exponent are of one run each, for else they would compare two days. So a file is refused if
    it lacks somebody whom an earlier one has in a case of it, or a part of what growth is reckoned from.
    """
    machines = [machine for machine, _ in files]
    if any({**machine, "on": ""} != {**machines[0], "on": ""} for machine in machines):
        raise SystemExit("the files are not of the same kind of machine")
    runs: dict[str, Sequence[Round]] = {}
    for _, newer in files:
        if runs and 0 < len(GROWTH.keys() & newer.keys()) < len(GROWTH):
            raise SystemExit("growth is of all bursts of one run: measure all of P8 anew")
        for case in runs.keys() & newer.keys():
            lost = _contenders(runs[case]) - _contenders(newer[case])
            if lost:
                raise SystemExit(f"{case}: {', '.join(sorted(lost))} would be lost: measure it by make bench-full")
        runs.update(newer)
    return {**machines[0], "on": " and ".join(sorted({machine["on"] for machine in machines}))}, runs


def _contenders(rounds: Sequence[Round]) -> set[str]:
    return {contender for each in rounds for contender in each}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return it in Markdown, all but the first column to the right."""
    rule = ["---" if number == 0 else "---:" for number in range(len(head))]
    return "\n".join("|".join(["", *(f" {cell} " if cell else " " for cell in row), ""]) for row in (head, rule, *rows))


def figure(value: float, unit: str) -> str:
    return f"{shown(value)} {unit}".strip()


def limit(value: float | None, verdict: Verdict) -> str:
    if value is None:
        return ""
    return f"{shown(value)}x" if verdict.goal.ratio else figure(value, verdict.goal.unit)


def named(verdict: Verdict) -> str:
    return verdict.goal.what.replace("*/5", "`*/5`")


def targets_table(found: Sequence[Verdict]) -> str:
    rows = [
        [
            verdict.goal.target,
            named(verdict),
            figure(verdict.figure, verdict.goal.unit),
            "" if verdict.ratio is None else f"{shown(verdict.ratio)}x",
            limit(verdict.goal.must, verdict),
            limit(verdict.goal.aim, verdict),
            f"**{verdict.word}**" if verdict.word in ("missed", "aim missed") else verdict.word,
        ]
        for verdict in found
    ]
    return table(["", "", "figure", "ratio", "must", "aim", "verdict"], rows)


def short_list(found: Sequence[Verdict]) -> str:
    """Return a sentence for each goal that was missed, and for each reason to doubt a figure."""
    said = []
    for verdict in found:
        if verdict.word not in ("missed", "aim missed"):
            continue
        goal = verdict.goal
        bound = goal.must if verdict.word == "missed" else goal.aim
        assert bound is not None
        is_, wanted = (
            f"{shown(value)}x" if goal.ratio else figure(value, goal.unit) for value in (verdict.judged, bound)
        )
        name = "must" if verdict.word == "missed" else "aim"
        said.append(f"- {goal.target}, {named(verdict)}: {is_}, where the {name} is {wanted}.")
    about: dict[str, list[str]] = defaultdict(list)
    for verdict in found:
        for note in verdict.notes:
            about[note].append(verdict.goal.target)
    noted = [f"- {', '.join(dict.fromkeys(targets))}: {note}." for note, targets in about.items()]
    missed = "\n".join(said) or "Every target is met."
    return missed if not noted else f"{missed}\n\nTo be read with care:\n\n" + "\n".join(noted)


def medians(case: str, runs: Runs) -> dict[str, dict[str, tuple[float, float | None]]]:
    """Return for each contender of the case the median of each figure, and that of its ratios to the baseline."""
    baseline = BY_NAME[case].contenders[0]
    found: dict[str, dict[str, tuple[float, float | None]]] = {}
    for contender in dict.fromkeys(name for each in runs.get(case, ()) for name in each):
        mine = rounds_of(case, contender, runs)
        mine = quiet_ones(case, contender, mine) or mine
        found[contender] = {}
        for name in mine[0][contender]:
            ratios = [each[contender][name] / each[baseline][name] for each in mine if each.get(baseline, {}).get(name)]
            middle = statistics.median(each[contender][name] for each in mine)
            found[contender][name] = (middle, statistics.median(ratios) if ratios else None)
    return found


def compared_table(compared: Compared, runs: Runs) -> str:
    found = medians(compared.case, runs)
    first = next(iter(compared.columns))
    baseline = BY_NAME[compared.case].contenders[0]
    rows = []
    for contender, figures in sorted(found.items(), key=lambda each: each[1][first][0]):
        name = f"**{contender}**" if contender.startswith("loopcron") else contender
        ratio = figures[first][1]
        cells = [figure(figures[key][0], unit) if key in figures else "" for key, (_, unit) in compared.columns.items()]
        rows.append([name, *cells, "1" if contender == baseline else "" if ratio is None else f"{shown(ratio)}x"])
    titles = [title for title, _ in compared.columns.values()]
    return table(["", *titles, f"x {baseline}"], rows)


def compared_plot(compared: Compared, runs: Runs) -> str:
    first, (_, unit) = next(iter(compared.columns.items()))
    rows = [
        Bar(
            name, figures[first][0], "good" if name.startswith("loopcron") else "other", figure(figures[first][0], unit)
        )
        for name, figures in sorted(medians(compared.case, runs).items(), key=lambda each: each[1][first][0])
    ]
    return bars(compared.plot, rows)


def targets_plot(found: Sequence[Verdict]) -> str:
    """Return how near each goal is: what was measured, of what must be."""
    rows = []
    for verdict in found:
        goal = verdict.goal
        bound = goal.must or goal.aim
        if bound is not None:
            part = verdict.judged / bound
            rows.append(Bar(f"{goal.target}  {goal.what}", max(part, 0.005), STYLES[verdict.word], f"{shown(part)}"))
    return bars(
        "What was measured, as a part of what must be, or of the aim where nothing must", rows, limits={"just so": 1.0}
    )


def growth_table(runs: Runs) -> str:
    found = {case: medians(case, runs) for case in GROWTH}
    rows = []
    for contender in found["burst, 1k"]:
        cells = [found[case].get(contender, {}).get("cpu_us") for case in GROWTH]
        said = ["" if cell is None else figure(cell[0], "µs") + ratio_of(cell[1]) for cell in cells]
        slopes = exponents(runs, contender)
        name = f"**{contender}**" if contender == "loopcron" else contender
        rows.append([name, *said, f"{statistics.median(slopes):.2f}" if slopes else ""])
    return table(["", *(f"{jobs:,}" for jobs in GROWTH.values()), "exponent"], rows)


def ratio_of(ratio: float | None) -> str:
    return "" if ratio is None else f", {shown(ratio)}x"


def growth_plot(runs: Runs) -> str:
    series: dict[str, dict[float, float]] = defaultdict(dict)
    for case, jobs in GROWTH.items():
        for contender, figures in medians(case, runs).items():
            series[contender][jobs] = figures["cpu_us"][0]
    return curves("CPU time of a run, by how many are due at one instant", series, "µs")


def machine_line(machine: dict[str, Any], runs: Runs) -> str:
    rounds = sorted({len(each) for each in runs.values()})
    many = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else f"{rounds[0]}"
    return (
        f"Measured on {machine['on']}: {machine['python']}, {machine['system']}, {machine['cores']} cores; "
        f"{many} rounds of each case, those of others in the first of them only."
    )


def render(machine: dict[str, Any], runs: Runs) -> tuple[dict[str, str], dict[str, str]]:
    """Return the blocks of the page, and the plots, by name."""
    found = verdicts(GOALS, runs)
    lacking = set(TARGETS) - {verdict.goal.target for verdict in found}
    if lacking:
        raise SystemExit(f"the file says nothing of {', '.join(sorted(lacking))}: measure all targets first")
    blocks = {
        "machine": machine_line(machine, runs),
        "targets": targets_table(found),
        "short": short_list(found),
        "growth": growth_table(runs),
        **{compared.block: compared_table(compared, runs) for compared in COMPARED},
    }
    plots = {
        "targets": targets_plot(found),
        "growth": growth_plot(runs),
        **{compared.block: compared_plot(compared, runs) for compared in COMPARED if compared.plot},
    }
    return blocks, plots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = "what runs of the benchmarks wrote, the latest last: together all targets"
    parser.add_argument("files", type=Path, nargs="+", help=what)
    blocks, plots = render(*merged([read(path) for path in parser.parse_args().files]))
    for name, text in blocks.items():
        write_block(PAGE, name, text)
    IMAGES.mkdir(exist_ok=True)
    for name, plot in plots.items():
        (IMAGES / f"performance-{name}.svg").write_text(plot, "utf-8")
    print(f"{PAGE.relative_to(ROOT)} and {len(plots)} plots in {IMAGES.relative_to(ROOT)} are written.")


if __name__ == "__main__":
    main()
