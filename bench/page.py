#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the page of a benchmark's results: README.md with tables, plots as SVG, and the results themselves.

    bench/page.py build/bench/results.json docs/bench
"""
import json
import os
import sys

from drawing import Bars, Chart, Panel, Steps
from pairs import Target, value_of
from samples import LEAST_SHARE

BAR_NAME_MAX = 48

HEAD = """<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- Made by bench/page.py from results.json: change those, not this. -->
# Benchmarks

`make bench` measures Headrace beside other systems, on one machine, on one disk, within the same minutes. The figures
of this page are those of [results.json](results.json). A figure by itself tells of the machine as much as of the program:
look at the ratios, at their ranges, and at the processor time of a record. [limits.md](limits.md) says what is short of its
target, by how much, and why.

    make bench                                       # everything, short runs: about half an hour
    make bench B="B1 B3" ARGS="--pairs 7 --seconds 10"    # some, as they should be measured
    bench/page.py build/bench/results.json docs/bench     # this page
"""

HOW = """## How it is measured

- **Pairs.** One run of Headrace and one of the other, seconds apart; the order turns from pair to pair. Ratios are
  computed within a pair; the table has their median, and the smallest and largest.
- **Quiet.** A run waits until the machine was more than 94 % idle for a quarter of a second, within a bound. A pair in
  which other programs used more than a tenth of the processors is dropped and made again. If all pairs were like that,
  the row says *disturbed*: its figures show that the procedure works, and no more.
- **Durability.** Headrace acknowledges what is on the disk, always. Redis runs with `appendfsync always`, PostgreSQL with
  its defaults (which sync), Kafka with `flush.messages=1`; `redis-everysec` and `kafka-default` do not wait for the disk.
  Kinesalite writes without waiting, kinesis-local keeps everything in memory.
- **Signatures.** Clients of Headrace sign every request, and the server checks the signature and the hash of the body. The
  others check nothing.
- **Load.** Throughput is measured with clients that send as soon as they are answered; latency under a given load with a
  schedule that does not wait for answers, counted from the time at which a request was due.
- **Beside other work** (B9): both sides of a pair take short turns, one after the other, and a side's quantiles are
  those of the latencies of all its turns, so that one pause of the disk does not decide.
- **CPU** is the server's processor time with its children's, divided by the records that it acknowledged. **RSS** is its
  resident memory at the end of a run (of a server of several processes, what they share counts once).
- **The raw disk** is measured before and after: direct, synchronous writes of 4 KiB and 1 MiB into space that was written
  before. `of the disk` is Headrace's MB/s of records, as a part of what the disk takes in writes of 1 MiB.
- `ok` means that every ratio that has a target meets it; the ratio that is shown is the one that is nearest to missing it,
  or misses it most. Targets with `<=` are for what should be small.
"""


# ---- Text

def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def spread_text(spread):
    if spread is None:
        return "-"
    if spread["n"] == 1:
        return number(spread["median"])
    return f"{number(spread['median'])} ({number(spread['min'])} to {number(spread['max'])})"


def middle(summary, name):
    return summary[name]["median"] if summary.get(name) else None


def verdict_text(row):
    if row.get("target") is None:
        return ""
    return f"{row['target']} {'ok' if Target(row['target']).is_met(value_of(row)) else 'short'}"


def remarks(row):
    said = []
    if row.get("disturbed"):
        said.append("disturbed")
    if row.get("dropped"):
        said.append(f"{row['dropped']} dropped")
    return f"{row.get('pairs', '-')}{' (' + ', '.join(said) + ')' if said else ''}"


# ---- Tables

def summary_table(benchmarks):
    yield "| | what | ratio | of | target | |"
    yield "|---|---|---|---|---|---|"
    for name, entry in benchmarks.items():
        target = entry["target"] if entry["target"] != "-" else "none"
        judged = "ok" if entry["ok"] else "short" if entry["target"] != "-" else ""
        if entry["failure"]:
            judged = "failed"
        if entry["disturbed"]:
            judged += ", disturbed" if judged else "disturbed"
        yield f"| {name} | {entry['title']} | {number(entry['ratio'])} | {entry['decides'] or ''} | {target} | {judged} |"


PAIR_COLUMNS = (("rate",), ("mb_s",), ("p50_us", "p99_us"), ("cpu_us_per_record",), ("rss_mb",))


def pair_table(rows):
    yield "| | ratio of | median (range) | target | records/s | MB/s | p50, p99 us | CPU us/record | RSS MB | of the disk | pairs |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        cells = [" / ".join(", ".join(number(middle(row[side], name)) for name in names) for side in ("ours", "theirs"))
                 for names in PAIR_COLUMNS]
        names = " / ".join(row["names"])
        yield (f"| {row['label']}: {names} | {row['measure']} | {spread_text(row.get('ratio'))} | {verdict_text(row)} | "
               f"{' | '.join(cells)} | {number(row.get('of_device'))} | {remarks(row)} |")


def plain_pair_table(rows):
    """Of pairs that are no runs of the generator."""
    yield "| | ratio of | median (range) | target | first | second | pairs |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        sides = " | ".join(number(middle(row[side], row["measure"])) for side in ("ours", "theirs"))
        yield (f"| {row['label']}: {' / '.join(row['names'])} | {row['measure']} | {spread_text(row.get('ratio'))} | "
               f"{verdict_text(row)} | {sides} | {remarks(row)} |")


def value_table(rows):
    yield "| | median (range) | ratio | target | runs |"
    yield "|---|---|---|---|---|"
    for row in rows:
        values = row.get("values")
        shown = f"{spread_text(values)} {row.get('unit') or row['measure']}" if values else ""
        ratio = spread_text(row.get("ratio")) if row.get("ratio") != values else ""
        yield f"| {row['label']} | {shown} | {ratio} | {verdict_text(row)} | {remarks(row)} |"


def profile_table(taken):
    """Of one run that was sampled."""
    cpu = taken["cpu_us_per_record"]
    yield f"Where the server's processor time goes ({taken['label']}, {number(cpu)} us a record while it was sampled):"
    yield ""
    yield "| | share | us a record |"
    yield "|---|---|---|"
    for name, share in taken["shares"].items():
        if share >= LEAST_SHARE:
            yield f"| {name} | {share:.1%} | {share * cpu:.2f} |"


def disk_line(disk):
    said = []
    for size, runs in disk.items():
        p50 = sorted(run["p50_us"] for run in runs)
        mb = sorted(run["mb_s"] for run in runs)
        said.append(f"{int(size) >> 10} KiB p50 {p50[0]} to {p50[-1]} us, {number(mb[0])} to {number(mb[-1])} MB/s")
    return "Raw disk, before and after: " + "; ".join(said) + "."


def section(name, entry):
    yield f"### {name}: {entry['title']}"
    yield ""
    yield f"{entry['date']}; {entry['pairs']} pair{'' if entry['pairs'] == 1 else 's'} wanted, runs of {entry['seconds']} s."
    tables = {pair_table: [], plain_pair_table: [], value_table: []}
    for row in entry["rows"]:
        kind = value_table if "theirs" not in row else pair_table if "rate" in row["ours"] else plain_pair_table
        tables[kind].append(row)
    for table, rows in tables.items():
        if rows:
            yield ""
            yield from table(rows)
    if entry["disk"]:
        yield ""
        yield disk_line(entry["disk"])
    for taken in entry.get("profiles", ()):
        yield ""
        yield from profile_table(taken)
    if entry["notes"]:
        yield ""
        yield from (f"- {note}" for note in entry["notes"])
    yield ""


# ---- Plots

def shortened(text):
    return text if len(text) <= BAR_NAME_MAX else text[:BAR_NAME_MAX - 4].rsplit(" ", 1)[0] + " ..."


def targets_plot(benchmarks):
    bars = []
    for name, entry in benchmarks.items():
        if entry["ratio"] is not None and entry["target"] != "-":
            share = Target(entry["target"]).share(entry["ratio"])
            bars.append((shortened(f"{name} {entry['decides']}"), share, "green" if entry["ok"] else "red",
                         f"{number(entry['ratio'])}, target {entry['target']}"))
    return Bars("How much of each target is reached", "1 is the target", bars) if bars else None


def peers_plot(benchmarks):
    bars = []
    for name in ("B1", "B2", "B4"):
        for row in benchmarks.get(name, {"rows": []})["rows"]:
            if "theirs" in row and row.get("ratio"):
                value = row["ratio"]["median"]
                bars.append((shortened(f"{name} {row['label']}"), value, "blue", f"{number(value)} times"))
    return Bars("Records per second: Headrace to the other", "1 is the other", bars) if bars else None


def line_plot(title, axis_title, panel_title, lines, log=False):
    lines = [(name, colour, [tuple(p) for p in points]) for name, colour, points in lines if points]
    if not lines:
        return None
    values = sorted({x for _, _, points in lines for x, _ in points})
    return Chart(title, Steps(axis_title, values), [Panel(panel_title, lines, 260, log)])


def series(benchmarks, name, key):
    return benchmarks.get(name, {}).get("series", {}).get(key, [])


def plots(benchmarks):
    yield "targets.svg", "how much of each target is reached", targets_plot(benchmarks)
    yield "peers.svg", "records per second against other systems", peers_plot(benchmarks)
    yield "connections.svg", "what a record costs over connections", line_plot(
        "Processor time of a record", "connections", "us a record",
        [("single puts", "orange", series(benchmarks, "S4", "cpu_us_1")),
         ("batches of 100", "blue", series(benchmarks, "S4", "cpu_us_100"))], log=True)
    yield "shards.svg", "throughput over shards", line_plot(
        "Batches of 500 records of 1 KB", "shards", "records/s", [("4 clients", "blue", series(benchmarks, "B5", "rate"))])
    yield "sizes.svg", "throughput over the size of a record", line_plot(
        "Records of different sizes", "bytes of a record", "MB/s", [("4 clients", "blue", series(benchmarks, "B6", "mb_s"))])


# ---- The page

def machine_line(machine):
    together = machine.get("together")
    shared = f" Busy at once they hash {number(together)} times what one hashes alone." if together else ""
    return (f"The machine: {machine['processors']} processors ({machine['model']}), {machine['memory_gib']} GiB, "
            f"Linux {machine['kernel']}.{shared}")


def ordered(benchmarks):
    """By letter, then by number."""
    return dict(sorted(benchmarks.items(), key=lambda item: (item[0][0], int(item[0][1:]))))


def text(results):
    benchmarks = ordered(results["benchmarks"])
    lines = [HEAD, machine_line(results["machine"]), "", *summary_table(benchmarks), ""]
    drawn = [(name, what) for name, what, plot in plots(benchmarks) if plot]
    lines += [f"![{what}]({name})\n" for name, what in drawn]
    lines += [HOW, "## Figures", "", "Where two figures stand in a cell, the first is Headrace's (or that of the first name).", ""]
    for name, entry in benchmarks.items():
        lines += section(name, entry)
    return "\n".join(lines).rstrip() + "\n"


def write(results, folder):
    os.makedirs(folder, exist_ok=True)
    drawn = {name: plot for name, _, plot in plots(ordered(results["benchmarks"]))}
    files = {name: plot.svg() for name, plot in drawn.items() if plot}
    for name in drawn.keys() - files.keys():  # of results that are no longer there
        if os.path.exists(os.path.join(folder, name)):
            os.remove(os.path.join(folder, name))
    files["README.md"] = text(results)
    files["results.json"] = json.dumps(results, indent=1) + "\n"
    for name, content in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(content)


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    with open(sys.argv[1], encoding="utf-8") as file:
        write(json.load(file), sys.argv[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
