"""Data sets, seeded: the same arguments give the same bytes everywhere. Every system reads the
files written here, none the generator.

  datasets.py history OUT [--shape orders|wide|text-key] [--rows N] [--versions N] [--dist zipf|uniform]
  datasets.py load OUT.arrow --shape narrow|wide [--rows N]
  datasets.py floor OUT            the least a history takes: every row version once, in one Parquet file

history:  base.parquet         the table after its first commit
          v00001.parquet ..    one file a commit: column `op` (U, I, D) and the row (of D the key alone)
          expected.json        per version rows and sums; keys to look up with their price; what diffs must give
          floor_bytes          written by `floor`
load:     record batches of 100,000 rows in an Arrow file
"""
import argparse
import json
import os

import numpy
import pyarrow as arrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet

WORDS = ("order return refund urgent pallet carton blue red green express standard fragile customer warehouse "
         "north south dock invoice paid pending checked sealed batch serial manual reorder damaged partial").split()
EPOCH = 1_700_000_000_000_000
ORDERS = [("sku", arrow.string()), ("ts", arrow.timestamp("us")), ("price", arrow.float64()),
          ("qty", arrow.int32()), ("note", arrow.string())]
FLOATS, INTEGERS, CATEGORIES = 8, 4, 2
WIDE = (ORDERS + [(f"f{n}", arrow.float64()) for n in range(FLOATS)]
        + [(f"i{n}", arrow.int64()) for n in range(INTEGERS)] + [(f"c{n}", arrow.string()) for n in range(CATEGORIES)])


def scattered(numbers):
    return (numbers.astype(numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)) >> numpy.uint64(24)


def notes(random, count):
    words = random.integers(0, len(WORDS), (count, 4)).tolist()
    tails = random.integers(0, 1 << 40, count).tolist()
    return [" ".join(WORDS[word] for word in four)[:33] + f" {tail:010x}" for four, tail in zip(words, tails)]


def nulls(random, values, part):
    """The values, so many of them null."""
    return arrow.array(values, mask=random.random(len(values)) < part)


class Shape:
    """Columns of a history's table, and its rows by number."""

    def __init__(self, name):
        self.name = name
        self.key = ["region", "code"] if name == "text-key" else ["id"]
        key = [("region", arrow.string()), ("code", arrow.string())] if name == "text-key" else [("id", arrow.int64())]
        self.schema = arrow.schema(key + (WIDE if name == "wide" else ORDERS))

    def keys(self, numbers):
        """The key columns of these rows."""
        if self.key == ["id"]:
            return [arrow.array(numbers, arrow.int64())]
        mixed = scattered(numbers)
        regions = [f"region-{number:02d}" for number in (numbers % 50).tolist()]
        return [arrow.array(regions), arrow.array([f"{number & 0xFFFFFFFF:08X}-{tail}" for number, tail in
                                                   zip(mixed.tolist(), numbers.tolist())])]

    def rows(self, random, numbers, version):
        count = len(numbers)
        times = EPOCH + version * 60_000_000 + numpy.sort(random.integers(0, 60_000_000, count))
        price = numpy.round(random.gamma(2.0, 25.0, count), 2)
        skus = [f"SKU-{number & 0xFFFFFFFF:08X}" for number in scattered(numbers).tolist()]
        quantity = random.integers(0, 1000, count).astype(numpy.int32)
        columns = self.keys(numbers) + [arrow.array(skus), arrow.array(times, arrow.timestamp("us")),
                                        arrow.array(price), arrow.array(quantity), arrow.array(notes(random, count))]
        if self.name == "wide":
            for n in range(FLOATS):
                columns.append(nulls(random, numpy.round(random.normal(0, 100, count), 3), n / FLOATS))
            for n in range(INTEGERS):
                columns.append(nulls(random, random.integers(0, 1 << 30, count), 0.1))
            for n in range(CATEGORIES):
                values = [f"cat-{value:03d}" for value in random.integers(0, 50, count).tolist()]
                columns.append(nulls(random, numpy.array(values, dtype=object), 0.5 * n))
        return arrow.table([column.cast(field.type) for column, field in zip(columns, self.schema)], schema=self.schema)


class Truth:
    """What is alive with which price, and what each diff asked for must give."""

    def __init__(self, capacity, wanted):
        self.price = numpy.zeros(capacity)
        self.live = numpy.zeros(capacity, bool)
        self.wanted, self.open, self.diffs, self.versions = wanted, {}, {}, []

    def begin(self, version):
        for pair in self.wanted:
            if pair[0] == version - 1:
                self.open[pair] = dict(live=self.live.copy(), price=self.price.copy(), touched=numpy.zeros(len(self.live), bool),
                                       feed_before=[0, 0.0], feed_after=[0, 0.0])

    def change(self, updated, inserted, deleted, new_prices):
        gone, made = numpy.concatenate([updated, deleted]), numpy.concatenate([updated, inserted])
        for seen in self.open.values():
            seen["touched"][gone] = seen["touched"][made] = True
            seen["feed_before"] = add(seen["feed_before"], self.price[gone])
            seen["feed_after"] = add(seen["feed_after"], new_prices)
        self.price[made], self.live[inserted], self.live[deleted] = new_prices, True, False

    def end(self, version):
        self.versions.append({"rows": int(self.live.sum()), "sum_price": float(self.price[self.live].sum())})
        for pair in [pair for pair in self.open if pair[1] == version]:
            seen = self.open.pop(pair)
            before, after = seen["touched"] & seen["live"], seen["touched"] & self.live
            self.diffs["%d-%d" % pair] = {
                "before": add([0, 0.0], seen["price"][before]), "after": add([0, 0.0], self.price[after]),
                "feed_before": seen["feed_before"], "feed_after": seen["feed_after"],
                "keys": int((before | after).sum())}


def add(count_and_sum, prices):
    return [count_and_sum[0] + len(prices), count_and_sum[1] + float(prices.sum())]


def diff_pairs(versions):
    middle = versions // 2
    return [(versions - 1, versions), (middle, middle + 1), (0, 1), (max(0, versions - 100), versions)]


def history(arguments):
    out, count, versions = arguments.out, arguments.rows, arguments.versions
    os.makedirs(out, exist_ok=True)
    shape, random = Shape(arguments.shape), numpy.random.default_rng(arguments.seed)
    updates, inserts, deletes = count // 200, count // 1000, count // 2000
    wanted = sorted(set(diff_pairs(versions)))
    truth = Truth(count + inserts * versions + 1, wanted)
    numbers = numpy.arange(1, count + 1, dtype=numpy.int64)
    base = shape.rows(random, numbers, 0)
    parquet.write_table(base, f"{out}/base.parquet", compression="zstd")
    none = numpy.zeros(0, numpy.int64)
    truth.change(none, numbers, none, base["price"].to_numpy())
    truth.end(0)
    ranks = random.permutation(count) + 1  # hot rows are scattered over the table
    weights = numpy.cumsum(numpy.arange(1, count + 1, dtype=numpy.float64) ** -1.1)
    weights /= weights[-1]
    probes = numpy.array([ranks[0], 1, count // 2, count])
    probed = {}

    def probe(version):
        keys = arrow.table(shape.keys(probes), names=shape.key).to_pylist()
        probed[version] = [{"key": key, "price": float(truth.price[number])} for key, number in zip(keys, probes)]

    probe(0)
    following = count + 1
    for version in range(1, versions + 1):
        truth.begin(version)
        alive = numpy.flatnonzero(truth.live)
        if arguments.dist == "uniform":
            updated = random.choice(alive, updates, replace=False)
        else:
            updated = none
            while len(updated) < updates:
                drawn = ranks[numpy.searchsorted(weights, random.random(updates * 2))]
                updated = numpy.concatenate([updated, drawn[truth.live[drawn]]])
                _, first = numpy.unique(updated, return_index=True)
                updated = updated[numpy.sort(first)]
            updated = updated[:updates]
        updated = numpy.sort(updated)
        candidates = numpy.setdiff1d(random.choice(alive, deletes * 3, replace=False), numpy.union1d(updated, probes))
        deleted = numpy.sort(random.permutation(candidates)[:deletes])
        inserted = numpy.arange(following, following + inserts, dtype=numpy.int64)
        following += inserts
        made = shape.rows(random, numpy.concatenate([updated, inserted]), version)
        keys = shape.keys(deleted)
        rest = [arrow.nulls(len(deleted), field.type) for field in list(shape.schema)[len(keys):]]
        operations = arrow.concat_tables([made, arrow.table(keys + rest, schema=shape.schema)])
        column = ["U"] * len(updated) + ["I"] * len(inserted) + ["D"] * len(deleted)
        operations = operations.add_column(0, arrow.field("op", arrow.string()), arrow.array(column))
        parquet.write_table(operations, f"{out}/v{version:05d}.parquet", compression="zstd")
        truth.change(updated, inserted, deleted, made["price"].to_numpy())
        truth.end(version)
        if version in (versions // 2, versions):
            probe(version)
    expected = {"shape": shape.name, "key": shape.key, "rows": count, "versions": versions, "dist": arguments.dist,
                "seed": arguments.seed, "at": truth.versions, "probes": probed, "diffs": truth.diffs}
    with open(f"{out}/expected.json", "w") as file:
        json.dump(expected, file)


def floor(arguments):
    """Bytes of all row versions as one Parquet file in key order (zstd, level 3), noted in `floor_bytes`."""
    out = arguments.out
    with open(f"{out}/expected.json") as file:
        key = [(name, "ascending") for name in json.load(file)["key"]]
    tables = [parquet.read_table(f"{out}/base.parquet")]
    for name in sorted(os.listdir(out)):
        if name.startswith("v0"):
            rows = parquet.read_table(f"{out}/{name}")
            tables.append(rows.filter(compute.not_equal(rows["op"], "D")).drop_columns(["op"]))
    path = f"{out}/floor.part"
    parquet.write_table(arrow.concat_tables(tables).sort_by(key), path, compression="zstd", compression_level=3, row_group_size=131_072)
    with open(f"{out}/floor_bytes", "w") as file:
        file.write(str(os.path.getsize(path)))
    os.remove(path)


def load(arguments):
    """narrow: a measurement a row. wide: the history's 20 columns."""
    random, count = numpy.random.default_rng(arguments.seed), arguments.rows
    wide = Shape("wide")
    narrow = arrow.schema([("id", arrow.int64()), ("ts", arrow.timestamp("us")), ("sensor", arrow.int32()),
                           ("value", arrow.float64())])
    with arrow.ipc.new_file(arguments.out + ".part", wide.schema if arguments.shape == "wide" else narrow) as file:
        for first in range(0, count, 100_000):
            numbers = numpy.arange(first, min(first + 100_000, count), dtype=numpy.int64)
            size = len(numbers)
            if arguments.shape == "wide":
                file.write_batch(wide.rows(random, numbers, 0).combine_chunks().to_batches()[0])
                continue
            times = EPOCH + numbers * 1000 + random.integers(0, 1000, size)
            file.write_batch(arrow.record_batch([
                arrow.array(numbers), arrow.array(times, arrow.timestamp("us")),
                arrow.array(random.integers(0, 1000, size).astype(numpy.int32)),
                arrow.array(numpy.round(random.normal(20, 5, size), 2))], schema=narrow))
    os.rename(arguments.out + ".part", arguments.out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["history", "load", "floor"])
    parser.add_argument("out")
    parser.add_argument("--shape", default="orders")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--versions", type=int, default=200)
    parser.add_argument("--dist", default="zipf", choices=["zipf", "uniform"])
    parser.add_argument("--seed", type=int, default=42)
    chosen = parser.parse_args()
    {"history": history, "load": load, "floor": floor}[chosen.what](chosen)
