#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what the soak has written, and computes its figures, from soak.csv alone.

    bench/soak_plot.py docs/soak        reads soak.csv there, writes memory.svg and latency.svg, and
                                        prints the figures as a table
"""
import csv
import math
import os
import statistics
import sys

from drawing import Chart, Linear, Panel

SETTLED_SECONDS = 20  # a server that has just started has not met every kind of request: not judged
GROWTH_MAX = 1.15
QUIET_CORES = 0.5      # that other programs use at most, in windows that tell of the server alone


# ---- The file: one row for each window, one for each event

def read_csv(path):
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    windows = [{k: float(v) for k, v in row.items() if k != "event" and v} for row in rows if not row["event"]]
    events = [(float(row["t_s"]), row["event"]) for row in rows if row["event"]]
    return windows, events


def load_windows(windows, events):
    """Those at the constant rate: behind the measurement of the peak, before the end."""
    begin = max((t for t, e in events if e.startswith("open")), default=0)
    end = max((t for t, e in events if e == "pause"), default=math.inf)
    return [w for w in windows if begin + w["seconds"] < w["t_s"] <= end]


# ---- Figures

def thirds(windows):
    n = len(windows) // 3
    return (windows[:n], windows[n:2 * n], windows[2 * n:]) if n else ([], [], [])


def middle(windows, name):
    values = [w[name] for w in windows if name in w]
    return statistics.median(values) if values else None


def settled(windows):
    return [w for w in windows if w.get("server_age_s", 0) >= SETTLED_SECONDS and "rss_mb" in w]


def memory_growth(windows):
    """RSS: (median of the second third, of the last third if its caches were as full, ratio), or None when
    there is too little to say. What bounded caches hold depends on how long a server has run, and is told by
    the server; files from before that was written down are judged by RSS alone."""
    _, second, last = (settled(part) for part in thirds(windows))
    if any("cache_mb" in w for w in windows):
        second, last = ([w for w in part if "cache_mb" in w] for part in (second, last))
    if len(second) < 5 or len(last) < 5:
        return None
    rss = middle(second, "rss_mb")
    apart = [statistics.median(w["rss_mb"] - w.get("cache_mb", 0) for w in part) for part in (second, last)]
    grown = rss + apart[1] - apart[0]
    return rss, grown, grown / rss


def figures(windows, events):
    load = load_windows(windows, events)
    _, second, last = thirds(load)
    ready = [float(e.split()[1]) for _, e in events if e.startswith("ready")]
    calm = [w for w in load if w.get("server_age_s", 0) >= SETTLED_SECONDS]
    growth = memory_growth(load)
    seconds = sum(w["seconds"] for w in load)

    def total(name):
        return sum(w.get(name, 0) for w in load)

    def over(name, scale=1.0):
        return total(name) / seconds * scale if seconds else 0

    yield "time under load", f"{seconds / 60:.1f} min; the server's clock moved by {total('hours_moved'):.0f} h"
    for t, e in events:
        if e.startswith(("peak", "open")):
            yield e.split()[0], f"{e.split(maxsplit=1)[1]}, at {t / 60:.1f} min"
    yield "records acknowledged", f"{total('records'):,.0f} ({total('mb'):,.0f} MB)"
    yield "rate, mean", f"{over('records'):,.0f} records/s, {over('mb'):.1f} MB/s, {over('requests'):.0f} requests/s"
    yield "read by those who keep up, mean", f"{over('tail_records'):,.0f} records/s, {over('tail_mb'):.1f} MB/s"
    yield "read from the beginning, mean", f"{over('sweep_records'):,.0f} records/s, {over('sweep_mb'):.1f} MB/s, "\
        f"{max((w['sweeps'] for w in windows), default=0):.0f} times everything"
    for name in ("p50", "p99", "p999"):
        values = [middle(w, f"{name}_ms") for w in (load, calm, second, last)]
        if None not in values:
            yield name, (f"{values[0]:.1f} ms (median of the windows; {values[1]:.1f} without the "
                         f"{SETTLED_SECONDS} s behind a start; second third {values[2]:.1f}, last {values[3]:.1f})")
    quiet = [w for w in calm if w.get("other_cpu", math.inf) < QUIET_CORES]
    if quiet:
        values = ", ".join(f"{name} {middle(quiet, name + '_ms'):.1f} ms" for name in ("p50", "p99", "p999"))
        yield "with others below half a core", f"{values} (medians of {len(quiet)} of {len(load)} windows)"
    yield "kills", f"{sum(e == 'kill' for _, e in events)}"
    if ready:
        yield "recovery", f"median {statistics.median(ready):.2f} s, longest {max(ready):.2f} s"
    if growth:
        what = ", if its caches were as full," if any("cache_mb" in w for w in load) else ""
        yield "RSS", f"second third {growth[0]:.0f} MB, last third{what} {growth[1]:.0f} MB: {growth[2]:.3f} times"
    if calm:
        most = max(w["rss_mb"] for w in calm)
        yield "RSS, all samples", f"median {middle(calm, 'rss_mb'):.0f} MB, most {most:.0f} MB"
    stored = [middle(w, "disk_mb") for w in (second, last)]
    if None not in stored:
        yield "disk", f"second third {stored[0]:,.0f} MB, last third {stored[1]:,.0f} MB"
    counts = [w["containers"] for w in load if "containers" in w]
    if counts:
        yield "containers", f"at most {max(counts):.0f} at once"
    yield "left out for being 60 s late", f"{total('shed'):.0f} requests"
    yield "refused", f"{total('refused'):.0f} records"
    yield "errors", f"{total('errors'):.0f}"
    yield "iterators that expired", f"{total('expired_iterators'):.0f}"
    if calm:
        yield "processor time", (f"server {middle(calm, 'server_cpu'):.2f}, generator {middle(calm, 'load_cpu'):.2f}, "
                                 f"other programs {middle(calm, 'other_cpu'):.2f} cores (medians)")


# ---- Drawing

def series(windows, name):
    return [(w["t_s"] / 60, w[name]) for w in windows if name in w]


def draw(folder):
    windows, events = read_csv(os.path.join(folder, "soak.csv"))
    axis = Linear("minutes", max(max((w["t_s"] for w in windows), default=1) / 60, 0.1))
    kills = [t / 60 for t, e in events if e == "kill"]
    put = [w for w in windows if w.get("requests")]
    rates = [(w["t_s"] / 60, w["records"] / w["seconds"]) for w in windows]
    charts = {
        "memory.svg": Chart("Memory and disk of the server (dashed: kill -9)", axis, [
            Panel("resident memory, MB", [("all", "blue", series(windows, "rss_mb")),
                                          ("anonymous", "green", series(windows, "anon_mb")),
                                          ("caches", "orange", series(windows, "cache_mb")),
                                          ("of files", "grey", series(windows, "file_mb"))]),
            Panel("on disk, MB", [("all", "blue", series(windows, "disk_mb")),
                                  ("journal", "orange", series(windows, "journal_mb")),
                                  ("containers", "violet", series(windows, "containers_mb"))], 200)], kills),
        "latency.svg": Chart("Latency of puts, from the time they were due (dashed: kill -9)", axis, [
            Panel("milliseconds, in windows of 5 s", [("p50", "green", series(put, "p50_ms")),
                                                      ("p99", "blue", series(put, "p99_ms")),
                                                      ("p99.9", "orange", series(put, "p999_ms"))], 280, log=True),
            Panel("records/s", [("acknowledged", "blue", rates)], 130),
            Panel("processor cores", [("server", "blue", series(windows, "server_cpu")),
                                      ("generator and readers", "green", series(windows, "load_cpu")),
                                      ("other programs", "red", series(windows, "other_cpu"))], 130)], kills),
    }
    for name, chart in charts.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(chart.svg())
    return list(figures(windows, events))


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    print("| | |\n|---|---|")
    for name, value in draw(sys.argv[1]):
        print(f"| {name} | {value} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
