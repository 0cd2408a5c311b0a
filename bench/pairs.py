# SPDX-License-Identifier: Apache-2.0
"""Runs in pairs, and what follows from them: medians, ranges, ratios.

A pair is one run of ours and one of the other, within seconds, on the same disk and processors; the order
turns from pair to pair (ABBA), so that a disk or a machine that grows faster or slower favours nobody. A
run starts when the machine is quiet. A pair in which other programs used more than a tenth of the
processors is dropped and made again; when there is no quiet to be had, what was measured is shown and
said to be disturbed.
"""
import statistics

FOREIGN_MAX = 0.10
TRIES_FACTOR = 2  # pairs that are made at most, for each that is wanted
NUMBERS = ("rate", "mb_s", "p50_us", "p99_us", "p999_us", "cpu_us_per_record", "rss_mb")


def spread(values):
    """Median, smallest, largest and number of what is not None."""
    values = sorted(v for v in values if v is not None)
    if not values:
        return None
    return {"median": statistics.median(values), "min": values[0], "max": values[-1], "n": len(values)}


def summary(runs, measure="rate"):
    names = dict.fromkeys((*NUMBERS, measure))
    return {name: spread([run.get(name) for run in runs]) for name in names if any(name in run for run in runs)}


def ratio(over, under):
    """None where there is nothing to compare with."""
    return over / under if over is not None and under else None


def ratios(pairs, name):
    return spread([ratio(ours.get(name), theirs.get(name)) for ours, theirs in pairs])


def is_disturbed(run):
    return run.get("foreign", 0.0) > FOREIGN_MAX


class Runs(list):
    """Runs of one thing alone: those that were not disturbed, or, if all were, all."""

    dropped = 0
    disturbed = False

    def of(self, name):
        return [run[name] for run in self]


def repeat(wanted, make):
    good, dropped = [], []
    while len(good) < wanted and len(good) + len(dropped) < TRIES_FACTOR * wanted:
        run = make()
        (dropped if is_disturbed(run) else good).append(run)
    runs = Runs(good or dropped)
    runs.disturbed, runs.dropped = not good, len(dropped) if good else 0
    return runs


def turning(pairs_wanted, ours, theirs):
    """Makes pairs until so many are undisturbed: (good pairs, dropped pairs). `ours` and `theirs` make one
    run each and return it."""
    good, dropped = [], []
    while len(good) < pairs_wanted and len(good) + len(dropped) < TRIES_FACTOR * pairs_wanted:
        if (len(good) + len(dropped)) % 2 == 0:
            pair = ours(), theirs()
        else:
            pair = tuple(reversed((theirs(), ours())))
        (dropped if any(map(is_disturbed, pair)) else good).append(pair)
    return good, dropped


# ---- Short turns

SUMS = ("batches", "records", "bytes", "refused", "failures", "seconds")
QUANTILES = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}


def quantile(counts, most, share):
    """Of {end of a bucket: how many}, as latencies_quantile of latency.c."""
    wanted, seen = int(sum(counts.values()) * share), 0
    for end, n in sorted(counts.items()):
        seen += n
        if seen > wanted:
            return min(end, most)
    return most


def pooled(runs):
    """Several runs of the same as if they had been one: all of their latencies together."""
    total = {**runs[0], **{name: sum(run[name] for run in runs) for name in SUMS}}
    counts = {}
    for run in runs:
        for end, n in run["counts"]:
            counts[end] = counts.get(end, 0) + n
    total["max_us"] = max(run["max_us"] for run in runs)
    total.update({name: quantile(counts, total["max_us"], share) for name, share in QUANTILES.items()})
    total["counts"] = sorted(counts.items())
    total["rate"] = total["records"] / total["seconds"]
    total["mb_s"] = total["bytes"] / total["seconds"] / 1e6
    total["rss_mb"] = max(run["rss_mb"] for run in runs)
    total["foreign"] = sum(run["foreign"] * run["seconds"] for run in runs) / total["seconds"]
    total["cpu_us_per_record"] = sum(run["cpu_us_per_record"] * run["records"] for run in runs) / max(total["records"], 1)
    return total


def in_turns(turns, ours, theirs):
    """Both sides of a pair in short turns, one after the other, so that a pause of the disk or of the machine, which
    decides about the p99 of one run, falls on both or is one among many: two functions for `turning`."""
    pending = {}

    def make():
        made = ([], [])
        for turn in range(turns):
            for side, run in ((0, ours), (1, theirs)) if turn % 2 == 0 else ((1, theirs), (0, ours)):
                made[side].append(run())
        pending.update({0: pooled(made[0]), 1: pooled(made[1])})

    def take(side):
        if side not in pending:
            make()
        return pending.pop(side)

    return lambda: take(0), lambda: take(1)


class Target:
    """What a ratio should be: at least a number, or at most."""

    def __init__(self, text):
        self.text = text
        self.at_least, self.value = text.startswith(">="), float(text[2:])
        assert text[:2] in (">=", "<="), text

    def is_met(self, value):
        return value is not None and (value >= self.value if self.at_least else value <= self.value)

    def share(self, value):
        """How much of it is reached: below 1 it is missed. What there is no value for is missed wholly."""
        if value is None or value <= 0:
            return 0.0
        return value / self.value if self.at_least else self.value / value


def value_of(row):
    return row["ratio"]["median"] if row.get("ratio") else None


def verdict(rows):
    """Of rows of results with a target, the one that misses it most, or meets it most narrowly, and whether all are
    met; None if no row has one."""
    rows = [row for row in rows if row.get("target")]
    if not rows:
        return None
    return (min(rows, key=lambda row: Target(row["target"]).share(value_of(row))),
            all(Target(row["target"]).is_met(value_of(row)) for row in rows))
