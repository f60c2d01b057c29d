"""The history benchmark of one system: a table, then commits to it, then questions about any version.

  history.py ingest  --system S --data DIR --store DIR [--versions N] [--budget SECONDS]
  history.py compact --system S --data DIR --store DIR
  history.py read    --system S --data DIR --store DIR --what open|scan|lookup|diff --at V [--to V]

Each prints one JSON line. Every read is a process of its own: nothing of the store is in memory but
what the page cache has; the interpreter's start and imports are not counted, so that times compare
with those of a compiled program. Answers are checked against the data set: `ok`.
"""
import argparse
import json
import os
import resource
import shutil
import sys
import time

import home
import systems
from systems.base import Unsupported


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def same(found, expected):
    """Rows and sum of prices, but for the order of addition."""
    return found[0] == expected[0] and abs((found[1] or 0.0) - expected[1]) <= 1e-6 * abs(expected[1]) + 1e-3


def stored_bytes(arguments):
    if arguments.system == "postgres":
        with open(arguments.store + "/bytes") as file:
            return int(file.read())
    return home.directory_bytes(arguments.store)


def split(operations):
    """Rows that are new or replaced, and keys that go."""
    import pyarrow.compute as compute
    gone = compute.equal(operations["op"], "D")
    columns = operations.column_names[1:]
    return operations.filter(compute.invert(gone)).select(columns).combine_chunks(), operations.filter(gone)


def ingest(arguments, system, expected, line):
    import pyarrow.parquet as parquet
    shutil.rmtree(arguments.store, ignore_errors=True)
    os.makedirs(os.path.dirname(os.path.abspath(arguments.store)), exist_ok=True)
    base = parquet.read_table(arguments.data + "/base.parquet").combine_chunks()
    start = time.perf_counter()
    system.create(base)
    line["base_seconds"] = time.perf_counter() - start
    times, begun, used = [], time.perf_counter(), 0.0
    for version in range(1, (arguments.versions or expected["versions"]) + 1):
        upserts, deletes = split(parquet.read_table(f"{arguments.data}/v{version:05d}.parquet"))
        deletes = deletes.select(expected["key"]).combine_chunks()
        start, cpu_start = time.perf_counter(), cpu()
        system.apply(version, upserts, deletes)
        times.append(1000 * (time.perf_counter() - start))
        used += cpu() - cpu_start
        if time.perf_counter() - begun > arguments.budget:
            break
    system.close()
    with open(arguments.store + ".last", "w") as file:
        file.write(str(len(times)))
    ordered, ten = sorted(times), min(10, len(times))
    line.update(versions=len(times), seconds=sum(times) / 1000, cpu_ms_per_commit=1000 * used / len(times),
                ms_first_10=sum(times[:ten]) / ten, ms_last_10=sum(times[-ten:]) / ten,
                ms_median=ordered[len(times) // 2], ms_p99=ordered[int(0.99 * (len(times) - 1))], ms_most=ordered[-1],
                bytes=stored_bytes(arguments), files=home.directory_files(arguments.store))


def compact(arguments, system, expected, line):
    start, cpu_start = time.perf_counter(), cpu()
    system.compact()
    line.update(seconds=time.perf_counter() - start, cpu_seconds=cpu() - cpu_start, bytes=stored_bytes(arguments),
                files=home.directory_files(arguments.store))


def read(arguments, system, expected, line):
    if arguments.system == "parquet" and arguments.what == "diff":
        import duckdb  # noqa: F401  its import is not counted
    line.update(what=arguments.what, at=arguments.at)
    start, cpu_start = time.perf_counter(), cpu()

    def finish():
        line.update(ms=1000 * (time.perf_counter() - start), cpu_ms=1000 * (cpu() - cpu_start))

    if arguments.what == "diff":
        found = system.diff(arguments.at, arguments.to)
        finish()
        wanted = expected["diffs"].get(f"{arguments.at}-{arguments.to}")
        line.update(to=arguments.to, answers=sorted(found))
        line["ok"] = wanted and all(same(found[part], wanted[part]) for part in found)
        return
    system.open(arguments.at)
    line["open_ms"] = 1000 * (time.perf_counter() - start)
    if arguments.what == "open":
        finish()
        line["ok"] = True
    elif arguments.what == "scan":
        found = system.scan()
        finish()
        at = expected["at"][arguments.at]
        line["ok"] = same(found, (at["rows"], at["sum_price"]))
    else:
        known = expected["probes"].get(str(arguments.at))
        probes = known or [{"key": probe["key"], "price": None} for probe in expected["probes"]["0"]]
        price = system.lookup(probes[2]["key"])
        finish()
        line["ok"] = price == probes[2]["price"] if known else price is not None
        warm = time.perf_counter()
        for probe in probes:
            price = system.lookup(probe["key"])
            line["ok"] &= price == probe["price"] if known else price is not None
        line["warm_ms"] = 1000 * (time.perf_counter() - warm) / len(probes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["ingest", "compact", "read"])
    parser.add_argument("--system", required=True, choices=systems.KNOWN)
    parser.add_argument("--data", required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--versions", type=int)
    parser.add_argument("--at", type=int, default=0)
    parser.add_argument("--to", type=int)
    parser.add_argument("--what", default="scan", choices=["open", "scan", "lookup", "diff"])
    parser.add_argument("--budget", type=float, default=1e9, help="end the ingest after this many seconds")
    arguments = parser.parse_args()
    with open(arguments.data + "/expected.json") as file:
        expected = json.load(file)
    import pyarrow.parquet as parquet
    schema = parquet.read_schema(arguments.data + "/base.parquet")
    types = {field.name: field.type for field in schema}
    system = systems.load(arguments.system, os.path.abspath(arguments.store), expected["key"], types)
    package = {"delta": "deltalake", "delta-feed": "deltalake", "lance": "lance", "lance-index": "lance", "ducklake": "duckdb",
               "duckdb": "duckdb", "postgres": "psycopg2", "sqlite": "sqlite3"}.get(arguments.system)
    if package:
        __import__(package)
    line = {"workload": "history", "command": arguments.command, "system": arguments.system}
    try:
        {"ingest": ingest, "compact": compact, "read": read}[arguments.command](arguments, system, expected, line)
    except Unsupported as what:
        line["unsupported"] = str(what)
    line["load_1m"] = os.getloadavg()[0]
    print(json.dumps(line), flush=True)
    sys.stdout.flush()
    os._exit(0)


main()
