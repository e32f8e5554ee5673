"""From samples to the table of docs/figures.md: medians, ratios and whether the aim is reached, all by this code.

    benches/table.py RAW.json [RAW.json …]

prints it from raw results; a figure comes whole from the last file that has it, so that its ratios are of one run. An invalid sample makes
its target's figure invalid: no number of it is shown.
"""

import dataclasses
import json
import pathlib
import statistics
import sys

COLUMNS = ("bare", "fs", "pg", "s3", "haproxy", "crypt")
OURS = ("fs", "pg", "s3")
ALL = lambda bound: dict.fromkeys(OURS, bound)  # noqa: E731


@dataclasses.dataclass(frozen=True)
class Row:
    """One line: of `figure`, the number `key` (`one per other` if it names two), shown by `form`, judged against `bounds`."""

    number: int
    text: str
    figure: str
    key: str
    form: str  # of the number, and of what is judged: see `judged`
    aim: str = ""
    judge: str = "value"  # what a bound is of: value, ratio (to bare), over (bare) or pair (to the number `other` of the same target)
    bounds: dict = dataclasses.field(default_factory=dict)
    best: str = "least"  # or most
    other: str = ""
    of: dict = dataclasses.field(default_factory=dict)  # column → the target whose samples it shows
    take: object = statistics.median  # of the rounds


COUNTED = {"s3": "s3-counted"}
ONLY_COUNTED = {column: "" for column in COLUMNS} | COUNTED
ROWS = (
    Row(1, "GET 4 KiB, requests/s", "get4k", "per_second", "{:,.0f}", "≥ 0.60 ×", "ratio", ALL(0.60), "most"),
    Row(1, "… CPU per request", "get4k", "cpu_us_per_request", "{:,.0f} µs", "≤ 120 µs fs, ≤ 220 µs s3", "value", {"fs": 120, "pg": 120, "s3": 220}),
    Row(2, "PUT 4 KiB, requests/s", "put4k", "per_second", "{:,.0f}", "≥ 0.70 ×", "ratio", ALL(0.70), "most"),
    Row(2, "… CPU per request", "put4k", "cpu_us_per_request", "{:,.0f} µs", "≤ 300 µs", "value", ALL(300)),
    Row(3, "GET 4 KiB at {per_second_asked:,.0f}/s, p50, and over bare", "steady", "p50_ms", "{:.1f} ms", "≤ 0.35 ms over", "over", ALL(0.35)),
    Row(3, "… p99, and over bare", "steady", "p99_ms", "{:.1f} ms", "≤ 2 ms over", "over", ALL(2)),
    Row(3, "… the driver's own lateness, p99", "steady", "driver_late_p99_ms", "{:.2f} ms"),
    Row(4, "GET 64 MiB, MiB/s", "get64m", "mib_per_second", "{:,.0f}", "≥ 0.85 ×", "ratio", ALL(0.85), "most"),
    Row(4, "… CPU-s per GiB", "get64m", "cpu_s_per_gib", "{:.2f}", "≤ 1.0", "value", ALL(1.0)),
    Row(5, "PUT 64 MiB, MiB/s", "put64m", "mib_per_second", "{:,.0f}", "≥ 0.80 ×", "ratio", ALL(0.80), "most"),
    Row(5, "… CPU-s per GiB", "put64m", "cpu_s_per_gib", "{:.1f}", "≤ 2.0", "value", ALL(2.0)),
    Row(5, "… peak resident memory", "put64m", "peak_mib", "{:,.0f} MiB", "≤ 256 MiB, the budget for bodies", "value", ALL(256)),
    Row(5, "8 × 8 MiB parts in parallel, MiB/s", "parts", "mib_per_second", "{:,.0f}", "≥ 0.80 ×", "ratio", ALL(0.80), "most"),
    Row(5, "… CPU-s per GiB", "parts", "cpu_s_per_gib", "{:.1f}", "≤ 2.0", "value", ALL(2.0)),
    Row(5, "… peak resident memory", "parts", "peak_mib", "{:,.0f} MiB", "≤ 256 MiB, the budget for bodies", "value", ALL(256)),
    Row(6, "64 KiB range in 64 MiB, p50", "range", "p50_ms", "{:.1f} ms", "≤ 1.5 ×", "ratio", ALL(1.5)),
    Row(6, "… bytes fetched ÷ asked", "range", "bytes_fetched_per_asked", "{:.3f}", "≤ 2.01", "value", {"s3": 2.01}, of=ONLY_COUNTED),
    Row(6, "… store requests per blob touched", "range", "store_requests_per_blob", "{:.4f}", "exactly 1", "value", {"s3": 1}, "exactly", of=ONLY_COUNTED),
    Row(7, "LIST of 10,000 keys, p50", "list", "p50_ms", "{:,.0f} ms", "faster than the store", "ratio", ALL(1), "below"),
    Row(7, "HEAD, p50", "head", "p50_ms", "{:.1f} ms", "faster than the store", "ratio", ALL(1), "below"),
    Row(7, "LIST, store requests", "list", "store_requests", "{:.0f}", "0", "value", {"s3": 0}, "exactly", of=ONLY_COUNTED, take=max),
    Row(7, "HEAD, store requests", "head", "store_requests", "{:.0f}", "0", "value", {"s3": 0}, "exactly", of=ONLY_COUNTED, take=max),
    Row(8, "idle connection, http", "idle", "idle_http_kib", "{:.1f} KiB", "≤ 12 KiB", "value", {"fs": 12}),
    Row(8, "idle connection, TLS", "idle", "idle_tls_kib", "{:.1f} KiB", "≤ 40 KiB", "value", {"fs": 40}),
    Row(8, "warm start until ready", "idle", "start_warm_ms", "{:.0f} ms", "≤ 100 ms", "value", {"fs": 100}),
    Row(9, "{tenants:,.0f} tenants × 3 classes, requests/s, and of one tenant's", "tenants", "per_second_all_tenants", "{:,.0f}", "≥ 0.9 ×", "pair", {"fs": 0.9},
        "most", other="per_second_one_tenant"),
    Row(9, "… KMS calls per KEK, TTL and replica", "tenants", "kms_calls_per_kek_and_life", "{:.3f}", "≤ 1", "value", {"fs": 1}, take=max),
    Row(10, "quiet tenant's p99 beside a flood, and of its own alone", "noise", "p99_beside_ms", "{:.1f} ms", "≤ 2 ×", "pair", ALL(2), other="p99_alone_ms"),
    Row(10, "… p50 beside, and of its own alone", "noise", "p50_beside_ms", "{:.1f} ms", "", "pair", other="p50_alone_ms"),
    Row(10, "… its errors beside the flood", "noise", "quiet_errors_beside", "{:.0f}", "0", "value", ALL(0), take=max),
    Row(10, "… the driver's own lateness beside it, p99", "noise", "driver_late_p99_beside_ms", "{:.2f} ms"),
    Row(10, "… requests beside it that found all 32 connections in use", "noise", "crowded_beside", "{:.0%}"),
    Row(10, "… the flood, requests/s that were served", "noise", "flood_per_second", "{:,.0f}"),
)


def markdown(samples, names=None):
    """The table of the figures named, of all that were taken without."""
    taken = {sample["figure"] for sample in samples}
    lines = ["| # | figure | " + " | ".join(COLUMNS) + " | target | reached |", "| --- " * (len(COLUMNS) + 4) + "|"]
    for row in ROWS:
        if row.figure in taken and (names is None or row.figure in names):
            cells, verdicts = told(row, samples)
            lines.append(f"| {row.number} | {heading(row, samples)} | " + " | ".join(cells) + f" | {row.aim} | {reached(row, verdicts)} |")
    return "\n".join(lines)


def heading(row, samples):
    first = next((sample for sample in samples if sample["figure"] == row.figure and "invalid" not in sample), {})
    try:
        return row.text.format(**first)
    except KeyError:  # nothing of it is valid
        return row.text.replace("{", "").replace("}", "")


def told(row, samples):
    """What each column shows, and of ours whether the bound is kept: True, False, None for an invalid one."""
    cells, verdicts = [], {}
    bare = number(row, samples, "bare", row.key)
    for column in COLUMNS:
        target = row.of.get(column, column)
        value = number(row, samples, target, row.key)
        if value is None:
            there = any(sample["figure"] == row.figure and sample["target"] == target for sample in samples)
            cells.append("invalid" if there and invalid(row, samples, target) else "")
            if there and column in row.bounds and cells[-1]:
                verdicts[column] = None
            continue
        shown, judged = row.form.format(value), value
        if row.judge == "pair":
            alone = number(row, samples, target, row.other)
            judged = value / alone if alone else None
            shown += f" ÷ {row.form.format(alone)} = {judged:.2f} ×" if judged is not None else ""
        elif row.judge != "value" and column == "bare":
            judged = None
        elif row.judge != "value":
            judged = None if not bare else value / bare if row.judge == "ratio" else value - bare
            shown += "" if judged is None else f" ({judged:.2f} ×)" if row.judge == "ratio" else f" ({judged:+.2f} ms)"
        cells.append(shown)
        if column in row.bounds:
            verdicts[column] = judged is not None and keeps(judged, row.bounds[column], row.best)
    return cells, verdicts


def keeps(value, bound, best):
    return {"least": value <= bound, "most": value >= bound, "below": value < bound, "exactly": value == bound}[best]


def number(row, samples, target, key):
    """Of the rounds, the median or what the row takes; None if there is none or one of them is invalid."""
    values = [sample.get(key) for sample in samples if sample["figure"] == row.figure and sample["target"] == target]
    if not values or None in values or invalid(row, samples, target):
        return None
    return row.take(values)


def invalid(row, samples, target):
    return any("invalid" in sample for sample in samples if sample["figure"] == row.figure and sample["target"] == target)


def reached(row, verdicts):
    """`yes`, `no`, or who did and who did not."""
    if not row.bounds:
        return ""
    if not verdicts:
        return "not taken"
    said = {answer: ", ".join(column for column in OURS if column in verdicts and verdicts[column] is answer) for answer in (True, False, None)}
    words = {True: "yes", False: "no", None: "invalid"}
    answers = [answer for answer, columns in said.items() if columns]
    return words[answers[0]] if len(answers) == 1 else "; ".join(f"{said[answer]} {words[answer]}" for answer in answers)


def caption(raw):
    """What the table is of, as a document must say it."""
    loads = [sample["load_before"] for sample in raw["samples"]]
    debug = "" if raw.get("release") else " **A debug build: these figures mean nothing.**"
    changed = f" with {raw['commit']['changed_files']} files changed" if raw["commit"]["changed_files"] else ""
    return (f"Commit {raw['commit']['id'][:12]}{changed}, {raw['machine']['cores']} cores ({raw['machine']['cpu']}), Linux {raw['machine']['kernel']}, {raw['taken'][:10]}; "
            f"{raw['seconds']} s, {raw['rounds']} rounds, medians; load before a sample {min(loads, default=0):.1f} to {max(loads, default=0):.1f}.{debug}")


def together(raws):
    """Samples of several runs: each figure from the last that has it."""
    last = {sample["figure"]: index for index, raw in enumerate(raws) for sample in raw["samples"]}
    return [sample for index, raw in enumerate(raws) for sample in raw["samples"] if last[sample["figure"]] == index]


def main():
    raws = [json.loads(pathlib.Path(name).read_text()) for name in sys.argv[1:]]
    if not raws:
        sys.exit(__doc__)
    print("\n\n".join(map(caption, raws)) + "\n\n" + markdown(together(raws)))


if __name__ == "__main__":
    main()
