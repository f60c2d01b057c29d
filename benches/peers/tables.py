"""Results as Markdown: medians of the rounds; beside every peer's figure how many times asof's it is (above 1: asof is
better). A figure with a wrong answer is not shown."""
import collections
import json
import statistics

POSITIONS = ["newest", "middle", "oldest", "hundred"]
STATES = ["left", "checkpointed", "compacted", "left cold", "checkpointed cold", "compacted cold"]


def read(files):
    lines = []
    for name in files:
        with open(name) as file:
            lines += [json.loads(line) for line in file if line.startswith("{")]
    return lines


def figure(value):
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.2g}"


class Figures:
    """Medians by (key), and what was wrong."""

    def __init__(self):
        self.values, self.wrong = collections.defaultdict(list), collections.Counter()

    def add(self, key, line, name):
        if line.get("error") or line.get("ok") is False:
            self.wrong[key] += 1
        elif isinstance(line.get(name), (int, float)):
            self.values[key].append(line[name])

    def median(self, key):
        return statistics.median(self.values[key]) if self.values[key] else None

    def cell(self, key, reference=None, more_is_better=False):
        value, base = self.median(key), self.median(reference) if reference else None
        if value is None:
            return "wrong" if self.wrong[key] else "-"
        text = figure(value)
        if base and reference != key:
            text += f" ({figure(base / value if more_is_better else value / base)}x)"
        return text + ("!" if self.wrong[key] else "")


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def in_order(found, first=("asof", "asof-tail", "plain-rust", "parquet", "limit", "limit-growing", "asof-log")):
    return sorted(found, key=lambda name: (first.index(name) if name in first else len(first), name))


def history(lines):
    texts = []
    for dataset in dict.fromkeys(line["dataset"] for line in lines):
        mine = [line for line in lines if line["dataset"] == dataset]
        floor = next((line["bytes"] for line in mine if line.get("command") == "floor"), None)
        ingest = [line for line in mine if line.get("command") in ("ingest", "compact", "checkpoint") and line["system"] != "asof-tail"]
        systems = in_order({line["system"] for line in ingest})
        measures = [("base_seconds", "load of the first version, s"), ("ms_first_10", "ms per commit, first 10"), ("ms_last_10", "ms per commit, last 10"),
                    ("ms_p99", "ms per commit, p99"), ("cpu_ms_per_commit", "CPU ms per commit")]
        rows = []
        figures = Figures()
        for line in ingest:
            for name, _ in measures:
                if line["command"] == "ingest":
                    figures.add((name, line["system"]), line, name)
            line["megabytes"] = line["bytes"] / 1e6 if "bytes" in line else None
            figures.add(("bytes", line["state"], line["system"]), line, "megabytes")
        for name, label in measures:
            rows.append([label] + [figures.cell((name, system), (name, "asof")) for system in systems])
        for state in STATES:
            if any(key[:2] == ("bytes", state) for key in list(figures.values)):
                rows.append([f"MB on disk, {state}"] + [figures.cell(("bytes", state, system), ("bytes", state, "asof")) for system in systems])
        least = f"Every row version once, in one Parquet file: {figure(floor / 1e6)} MB.\n" if floor else ""
        texts += [f"### {dataset}\n", table(["commits", *systems], rows), least]
        reads = [line for line in mine if line.get("what")]
        for state in [state for state in STATES if any(line["state"] == state for line in reads)]:
            figures, systems, rows = Figures(), in_order({line["system"] for line in reads if line["state"] == state}), []
            for line in reads:
                if line["state"] == state:
                    figures.add((line["what"], line["position"], line["system"]), line, "ms")
                    line["megabytes_read"] = line["bytes_read"] / 1e6 if "bytes_read" in line else None
                    for name in ("rows_decoded", "pages_decoded", "megabytes_read"):
                        figures.add((line["what"], line["position"], line["system"], name), line, name)
            for what in ("open", "scan", "lookup", "diff"):
                for position in POSITIONS:
                    key = (what, position)
                    if not any(found[:2] == key for found in list(figures.values)):
                        continue
                    work = "; ".join(figure(figures.median((*key, "asof", name))) for name in ("rows_decoded", "pages_decoded", "megabytes_read"))
                    rows.append([f"{what}, {position}"] + [figures.cell((*key, system), (*key, "asof")) for system in systems] + [work])
            texts += [f"{dataset}, {state}: ms\n", table(["read", *systems, "asof: rows; pages decoded; MB read"], rows)]
    return texts


def commits(lines):
    figures = Figures()
    for line in lines:
        for name in ("commits_per_second", "p50_us", "p99_us", "commits_per_sync"):
            figures.add((line["mode"], line["threads"], line["system"], name), line, name)
    texts = []
    for mode in dict.fromkeys(line["mode"] for line in lines):
        systems = in_order({line["system"] for line in lines if line["mode"] == mode})
        threads = sorted({line["threads"] for line in lines})
        rows = []
        for system in systems:
            cells = []
            for count in threads:
                key = (mode, count, system)
                cells += [figures.cell((*key, "commits_per_second"), (mode, count, "asof", "commits_per_second"), True),
                          f"{figures.cell((*key, 'p50_us'))} / {figures.cell((*key, 'p99_us'))}"]
            rows.append([system] + cells)
        heads = ["system"] + [head for count in threads for head in (f"{count} threads, commits/s", "p50 / p99 us")]
        texts += [f"### {mode}\n", table(heads, rows)]
    return texts


def load(lines):
    figures, texts = Figures(), []
    for line in lines:
        for name in ("rows_per_second", "cpu_seconds", "bytes", "seconds", "peak_resident_mb"):
            figures.add((line["shape"], line["system"], name), line, name)
    for shape in dict.fromkeys(line["shape"] for line in lines):
        rows = []
        for system in in_order({line["system"] for line in lines if line["shape"] == shape}):
            cells = [figures.cell((shape, system, "rows_per_second"), (shape, "asof", "rows_per_second"), True)]
            rows.append([system] + cells + [figures.cell((shape, system, name)) for name in ("seconds", "cpu_seconds", "bytes")])
        texts += [f"### {shape}\n", table(["system", "rows per second", "seconds", "CPU seconds", "bytes"], rows)]
    return texts


def recovery(lines):
    figures = Figures()
    for line in lines:
        for name in ("open_seconds", "readable_seconds"):
            figures.add((line["system"], name), line, name)
    rows = [[system, figures.cell((system, "open_seconds")), figures.cell((system, "readable_seconds"), ("asof", "readable_seconds"))]
            for system in in_order({line["system"] for line in lines})]
    return [table(["system", "open, s", "last row read, s"], rows)]


def mount(lines):
    texts = []
    for dataset in dict.fromkeys(line["dataset"] for line in lines):
        for state in dict.fromkeys(line["state"] for line in lines if line["dataset"] == dataset):
            mine = [line for line in lines if line["dataset"] == dataset and line["state"] == state]
            sums, files, figures = [line for line in mine if line["command"] == "sum"], [line for line in mine if line["command"] == "file"], Figures()
            for line in mine:
                for name in ("stat_ms", "seen_ms", "ms", "again_ms", "plain_ms", "head_ms", "tail_ms", "mb_per_second", "again_mb_per_second", "native_mb_per_second",
                             "copied", "filled", "filled_copied", "padding", "size_ms", "open_ms", "peak_resident_mb", "chunk_bytes", "rows_decoded"):
                    figures.add((line["command"], line.get("position"), line.get("reader") or line.get("form"), name), line, name)
                for name, value in (line.get("work") or {}).items():
                    figures.add((line["command"], line.get("position"), None, name), {name: value}, name)
            rows = []
            for position, reader in dict.fromkeys((line["position"], line["reader"]) for line in sums):
                key = ("sum", position, reader)
                plain = (*key, "plain_ms")
                rows.append([f"{position}, {reader}", *[figures.cell((*key, name)) for name in ("stat_ms", "seen_ms")],
                             *[figures.cell((*key, name), plain) for name in ("ms", "again_ms")], figures.cell(plain)])
            if rows:
                texts += [f"{dataset}, {state}: `sum(price), count(*)`, ms (times a plain copy's)\n",
                          table(["version, reader", "stat", "commit seen", "first", "again", "plain copy"], rows)]
            rows = []
            for position, form in dict.fromkeys((line["position"], line["form"]) for line in files):
                key = ("file", position, form)
                rows.append([f"{position}, {form}", *[figures.cell((*key, name)) for name in
                             ("stat_ms", "head_ms", "tail_ms", "mb_per_second", "again_mb_per_second", "native_mb_per_second")]])
            if rows:
                texts += [f"{dataset}, {state}: whole files\n", table(["version, form", "stat, ms", "first MB, ms", "last MB, ms", "MB/s", "again", "native file"], rows)]
            rows = []
            for position in dict.fromkeys(line.get("position") for line in mine if line["command"] == "made of"):
                key = ("made of", position, None)
                rows.append([position, *[figures.cell((*key, name)) for name in ("size_ms", "open_ms", "copied", "chunk_bytes", "filled", "filled_copied", "padding", "rows_decoded")]])
            if rows:
                texts += [f"{dataset}, {state}: what the file and the column `price` are made of\n",
                          table(["version", "size known, ms", "footer, ms", "bytes copied of all columns", "bytes of the column", "in slots", "of these copied", "padding", "rows decoded"], rows)]
            texts.append(f"Peak memory of the mount: {figures.cell(('memory', None, None, 'peak_resident_mb'))} MB.\n")
    return texts


def scale(lines):
    """Every figure that was measured: there is no peer."""
    hidden = {"workload", "command", "machine", "time", "load_1m", "ok", "round", "system"}
    rows = []
    for line in lines:
        figures = ", ".join(f"{name} {figure(value) if isinstance(value, (int, float)) else value}"
                            for name, value in line.items() if name not in hidden and not isinstance(value, dict))
        rows.append([str(line.get("command")), figures, "WRONG" if line.get("ok") is False else "yes" if line.get("ok") else "-"])
    return [table(["what", "figures", "answer checked"], rows)]


class Aims:
    """The aims, each with what was measured and whether that reaches it."""

    def __init__(self):
        self.rows = []

    def add(self, what, aim, value, reached):
        self.rows.append([what, aim, figure(value), "-" if value is None else "yes" if reached(value) else "**no**"])

    def at_most(self, what, value, most, unit=""):
        self.add(what, f"<= {figure(most)}{unit}", value, lambda value: value <= most)

    def at_least(self, what, value, least, unit=""):
        self.add(what, f">= {figure(least)}{unit}", value, lambda value: value >= least)

    def history(self, lines):
        for dataset in dict.fromkeys(line["dataset"] for line in lines):
            mine, figures = [line for line in lines if line["dataset"] == dataset], Figures()
            for line in mine:
                figures.add((line.get("command"), line.get("state"), line["system"], "bytes"), line, "bytes")
                for name in ("ms_first_10", "ms_last_10"):
                    figures.add((line["system"], name), line, name)
                if line.get("what"):
                    figures.add((line["what"], line["position"], line["state"], line["system"]), line, "ms")
            first, last = (figures.median(("asof", name)) for name in ("ms_first_10", "ms_last_10"))
            self.at_most(f"{dataset}: ms per commit, first 10", first, 15)
            self.at_most(f"{dataset}: ms per commit, last 10", last, 15)
            floor, compacted = figures.median(("floor", None, "floor", "bytes")), figures.median(("compact", "compacted", "asof", "bytes"))
            self.at_most(f"{dataset}: disk, compacted, x floor", compacted and floor and compacted / floor, 1.6)
            stores = [("left", "asof"), ("checkpointed", "asof"), ("compacted", "asof"), ("compacted", "asof-tail")]
            for state, system in [pair for pair in stores if any(line.get("state") == pair[0] and line["system"] == pair[1] and line.get("what") for line in mine)]:
                label = f"{dataset}, {state}{' with a tail' if system == 'asof-tail' else ''}"
                for position in POSITIONS[:3]:
                    self.at_most(f"{label}: open, {position}, ms", figures.median(("open", position, state, system)), 0.5)
                    scan, plain = (figures.median(("scan", position, state, name)) for name in (system, "parquet"))
                    self.at_most(f"{label}: scan, {position}, x the plain file by pyarrow", scan and plain and scan / plain, 1.2)
                    self.at_most(f"{label}: open and lookup, {position}, ms", figures.median(("lookup", position, state, system)), 0.5)
                    self.at_most(f"{label}: diff of one commit, {position}, ms", figures.median(("diff", position, state, system)), 3 if position == "newest" else 30)
                self.at_most(f"{label}: diff of a hundred commits, ms", figures.median(("diff", "hundred", state, system)), 100)

    def commits(self, lines):
        figures = Figures()
        for line in lines:
            figures.add((line["mode"], line["threads"], line["system"]), line, "commits_per_second")
        for mode in ("insert", "upsert"):
            for threads, least in ((1, 0.9), (8, 0.9), (64, 0.75)):
                value, limit = figures.median((mode, threads, "asof")), figures.median(("insert", threads, "limit"))
                self.at_least(f"{mode}, {threads} threads, part of the limit", value and limit and value / limit, least)

    def load(self, lines):
        figures = Figures()
        for line in lines:
            figures.add((line["shape"], line["system"]), line, "rows_per_second")
        for shape in ("narrow", "wide"):
            value, writer = (figures.median((shape, system)) for system in ("asof", "parquet-zstd1"))
            self.at_least(f"load, {shape}, x the rate of the Parquet zstd-1 writer", value and writer and value / writer, 1)

    def recovery(self, lines):
        figures = Figures()
        for line in lines:
            figures.add(line["system"], line, "readable_seconds")
        self.at_most("recovery, s", figures.median("asof"), 0.45)

    def mount(self, lines):
        for dataset in dict.fromkeys(line["dataset"] for line in lines):
            for state in [state for state in ("left", "compacted") if any(line["state"] == state for line in lines if line["dataset"] == dataset)]:
                mine, figures = [line for line in lines if line["dataset"] == dataset and line["state"] == state], Figures()
                for line in mine:
                    for name in ("stat_ms", "ms", "again_ms", "plain_ms", "mb_per_second", "again_mb_per_second", "native_mb_per_second", "peak_resident_mb"):
                        figures.add((line["command"], line.get("position"), line.get("reader") or line.get("form"), name), line, name)
                for position in POSITIONS[:3]:
                    label, key = f"{dataset}, {state}, mounted, {position}", ("sum", position, "duckdb")
                    first, again, plain = (figures.median((*key, name)) for name in ("ms", "again_ms", "plain_ms"))
                    self.at_most(f"{label}: stat, ms", figures.median((*key, "stat_ms")), 1)
                    self.at_most(f"{label}: first sum by DuckDB, x a plain copy", first and plain and first / plain, 3)
                    self.at_most(f"{label}: again, x a plain copy", again and plain and again / plain, 1.2)
                    self.at_least(f"{label}: Parquet, first reading, MB/s", figures.median(("file", position, "parquet", "mb_per_second")), 500)
                self.at_most(f"{dataset}, {state}, mounted: MB resident", figures.median(("memory", None, None, "peak_resident_mb")), 537)

    def scale(self, lines):
        for line in lines:
            command = line.get("command")
            if command == "versions":
                count = f"{line.get('versions', 0):,.0f} versions"
                self.at_most(f"{count}: open, ms", line.get("open_ms"), 100)
                first = next(other for other in lines if other.get("command") == "versions").get("commits_per_second")
                rate = line.get("commits_per_second")
                self.at_least(f"{count}: commit rate, x that of the fewest", rate and first and rate / first, 0.9)
            elif command == "latency":
                self.at_most("p99 of commits beside a checkpoint, x alone", line.get("p99_ratio"), 5)
            elif command in ("load", "scan", "diff", "mount"):
                rows = line.get("table_rows") or line.get("rows") or 0
                self.at_most(f"{rows:,} rows, {command}{' ' + line['what'] if 'what' in line else ''}: MB resident", line.get("peak_resident_mb"), 1074)


def write_into(page, text):
    """Puts the tables between the marks of a page."""
    begin, end = "<!-- tables: begin -->\n", "<!-- tables: end -->"
    with open(page) as file:
        before, rest = file.read().split(begin)
    _, after = rest.split(end)
    with open(page, "w") as file:
        file.write(f"{before}{begin}\n{text}\n{end}{after}")


def render(files):
    lines, texts, aims = read(files), [], Aims()
    sections = {"history": ("W1: history", history), "commits": ("W2: durable commits of one row", commits), "load": ("W3: bulk load", load),
                "recovery": ("W4: recovery", recovery), "mount": ("W5: the mount", mount), "scale": ("Scale", scale)}
    for name, (title, make) in sections.items():
        mine = [line for line in lines if line.get("workload") == name]
        if mine:
            texts += [f"## {title}\n", *make(mine)]
            getattr(aims, name)(mine)
    wrong = [line for line in lines if line.get("error") or line.get("ok") is False]
    texts += [f"{len(lines)} measurements, {len(wrong)} without a right answer.\n"]
    texts += [f"- {json.dumps({key: line[key] for key in line if key not in ('machine', 'time')})[:300]}" for line in wrong[:20]]
    return "\n".join(["## Aims\n", table(["what", "aim", "asof", "reached"], aims.rows), *texts])
