"""The mount benchmark (W5): files of versions that nobody has looked at, beside plain copies of them.

  mount.py run --asof PROGRAM --store DIR --data DIR --point DIR --cache DIR --plain DIR [--round N] [--cold]
  mount.py one --reader duckdb|pyarrow|polars --file FILE

`run` mounts the store, makes the plain copies that are missing, and prints a JSON line for each measurement: `stat` of
each form; `sum(price), count(*)` by each reader the first time, again, and of the plain copy; reading whole files; and
a commit of another process just before. Every read by a reader is a process of its own (`one`); its imports are not
counted. No two readers read the same version first. Answers are checked against the data set: `ok`.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time

import home

READERS = ["duckdb", "pyarrow", "polars"]
FORMS = ["parquet", "csv", "jsonl"]
BLOCK = 1 << 20


def milliseconds(work):
    start = time.perf_counter()
    result = work()
    return 1000 * (time.perf_counter() - start), result


def one(arguments):
    """The sum of the prices and the number of rows of a file, and how long that took."""
    path = arguments.file
    if arguments.reader == "duckdb":
        import duckdb
        connection = duckdb.connect()
        read = lambda: connection.execute(f"select count(*), sum(price) from read_parquet('{path}')").fetchone()  # noqa: E731
    elif arguments.reader == "pyarrow":
        import pyarrow.compute as compute
        import pyarrow.parquet as parquet

        def read():
            prices = parquet.read_table(path, columns=["price"])["price"]
            return len(prices), compute.sum(prices).as_py()
    else:
        import polars

        def read():
            found = polars.scan_parquet(path).select(polars.len(), polars.col("price").sum()).collect()
            return found.row(0)
    took, (rows, total) = milliseconds(read)
    print(json.dumps({"ms": took, "rows": rows, "sum": total}))


def ask(reader, path):
    command = [sys.executable, os.path.abspath(__file__), "one", "--reader", reader, "--file", path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if result.returncode:
        raise RuntimeError(result.stderr[-300:])
    return json.loads(result.stdout.splitlines()[-1])


def is_answer(found, rows, total):
    return found["rows"] == rows and abs(found["sum"] - total) <= 1e-6 * abs(total) + 1e-3


def read_whole(path):
    """Megabytes per second of reading a file from its beginning, and its length."""
    size, start = 0, time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            size += len(block)
    return size / 1e6 / (time.perf_counter() - start), size


class Mounted:
    """A mount of a store, as long as the block lasts."""

    def __init__(self, arguments):
        self.command = [arguments.asof, "mount", arguments.store, arguments.point]
        self.point, self.environment = arguments.point, {**os.environ, "XDG_CACHE_HOME": arguments.cache}

    def __enter__(self):
        os.makedirs(self.point, exist_ok=True)
        self.process = subprocess.Popen(self.command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.time() + 30
        while not os.path.ismount(self.point):
            if self.process.poll() is not None or time.time() > deadline:
                raise RuntimeError(f"no mount: {self.process.stderr.read().decode()[-300:] if self.process.poll() is not None else ''}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    def peak_resident_mb(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) * 1024 / 1e6 for line in file if line.startswith("VmHWM"))


def plain_copy(arguments, version):
    """A plain Parquet file of a version, as anybody would write it."""
    import pyarrow.parquet as parquet
    path = f"{arguments.plain}/v{version:05d}.parquet"
    if not os.path.exists(path):
        os.makedirs(arguments.plain, exist_ok=True)
        source = path + ".source"
        subprocess.run([arguments.asof, "cat", arguments.store, "t", "--as-of", str(version + 1), "--format", "parquet", "-o", source], check=True)
        table = parquet.read_table(source)
        parquet.write_table(table, path, compression="zstd", compression_level=3, row_group_size=131_072)
        os.remove(source)
    return path


def run(arguments):
    with open(arguments.data + "/expected.json") as file:
        expected = json.load(file)
    newest = expected["versions"]
    # No two readers and rounds begin with the same version.
    step = len(READERS) + 2
    first = {"newest": newest - arguments.round * step, "middle": newest // 2 - arguments.round * step, "oldest": 1 + arguments.round * step}
    direction = {"newest": -1, "middle": -1, "oldest": 1}

    def say(**line):
        print(json.dumps({"workload": "mount", "system": "asof", **line}), flush=True)

    plain = {position: plain_copy(arguments, version) for position, version in first.items()}
    with Mounted(arguments) as mounted:
        for position in first:
            for number, reader in enumerate(READERS):
                version = first[position] + number * direction[position]
                if not 0 <= version <= newest:
                    continue
                at = expected["at"][version]
                path = f"{arguments.point}/version/{version + 1}/t.parquet"
                if arguments.cold:
                    home.evict(arguments.store)
                stat_ms, _ = milliseconds(lambda: os.stat(path))
                found = ask(reader, path)
                again = [ask(reader, path) for _ in range(3)]
                beside = [ask(reader, plain[position]) for _ in range(3)]
                middle = lambda lines: statistics.median(line["ms"] for line in lines)  # noqa: E731
                ok = all(is_answer(line, at["rows"], at["sum_price"]) for line in [found, *again])
                say(command="sum", position=position, reader=reader, version=version, stat_ms=stat_ms, ms=found["ms"], again_ms=middle(again),
                    plain_ms=middle(beside), ok=ok)
            # Forms and whole files: of a version that no reader had.
            version = first[position] + len(READERS) * direction[position]
            if not 0 <= version <= newest:
                continue
            for form in FORMS:
                path = f"{arguments.point}/version/{version + 1}/t.{form}"
                stat_ms, status = milliseconds(lambda: os.stat(path))
                with open(path, "rb", buffering=0) as file:
                    head_ms, _ = milliseconds(lambda: file.read(BLOCK))
                    file.seek(-BLOCK, os.SEEK_END)
                    tail_ms, _ = milliseconds(lambda: file.read(BLOCK))
                rate, size = read_whole(path)
                again, _ = read_whole(path)
                copy = f"{arguments.plain}/copy"
                subprocess.run(["cp", path, copy], check=True)
                native = max(read_whole(copy)[0] for _ in range(2))
                os.remove(copy)
                say(command="file", position=position, form=form, version=version, stat_ms=stat_ms, head_ms=head_ms, tail_ms=tail_ms,
                    bytes=size, mb_per_second=rate, again_mb_per_second=again, native_mb_per_second=native, ok=size == status.st_size)
        if arguments.commit:
            after_commit(arguments, expected, say)
        say(command="memory", peak_resident_mb=mounted.peak_resident_mb())


def after_commit(arguments, expected, say):
    """A commit of another process: when it is seen, and what a reader of the newest version waits for then."""
    target = lambda: os.readlink(f"{arguments.point}/latest")  # noqa: E731
    before, key = target(), expected["probes"]["0"][0]["key"]
    rows = ask("duckdb", f"{arguments.point}/latest/t.parquet")["rows"]
    line = json.dumps({"ops": [{"op": "update", "table": "t", "rows": [{**key, "price": 0.25}]}]}) + "\n"
    subprocess.run([arguments.asof, "apply", arguments.store], input=line, text=True, check=True, stdout=subprocess.DEVNULL)
    seen_ms, _ = milliseconds(lambda: next(None for _ in iter(int, 1) if target() != before))
    path = f"{arguments.point}/latest/t.parquet"
    stat_ms, _ = milliseconds(lambda: os.stat(path))
    found, again = ask("duckdb", path), ask("duckdb", path)
    say(command="sum", position="after a commit", reader="duckdb", stat_ms=stat_ms, seen_ms=seen_ms, ms=found["ms"], again_ms=again["ms"],
        ok=found["rows"] == rows == again["rows"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "one"])
    parser.add_argument("--reader", choices=READERS)
    parser.add_argument("--file")
    for name in ("asof", "store", "data", "point", "cache", "plain"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--round", type=int, default=0)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--commit", action="store_true")
    arguments = parser.parse_args()
    {"run": run, "one": one}[arguments.command](arguments)


main()
