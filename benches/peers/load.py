"""The bulk load of one system: record batches, in memory before the clock starts, to durable.

  load.py --system parquet-zstd1|parquet-snappy|arrow|raw|duckdb|duckdb-key|delta|lance|sqlite --data FILE.arrow --store DIR

Systems that do not sync by themselves are synced inside the clock; `ms_unsynced` is the time before. What was
written is read back outside the clock: rows must be as many (`ok`).
"""
import argparse
import json
import os
import resource
import shutil
import time

import pyarrow as arrow
import pyarrow.parquet as parquet

import home

ROW_GROUP_BATCHES = 10  # of 100,000 rows


def parquet_file(table, batches, store, system):
    options = {"compression": "snappy"} if system.endswith("snappy") else {"compression": "zstd", "compression_level": 1}
    with parquet.ParquetWriter(store + "/t.parquet", table.schema, **options) as file:
        for first in range(0, len(batches), ROW_GROUP_BATCHES):
            file.write_table(arrow.Table.from_batches(batches[first:first + ROW_GROUP_BATCHES]))
    return lambda: parquet.ParquetFile(store + "/t.parquet").metadata.num_rows


def arrow_file(table, batches, store, system):
    with arrow.ipc.new_file(store + "/t.arrow", table.schema) as file:
        for batch in batches:
            file.write_batch(batch)
    return lambda: table.num_rows


def raw(table, batches, store, system):
    """As many bytes as the batches have, in megabytes: what the disk can do."""
    block = os.urandom(1 << 20)
    with open(store + "/raw", "wb", buffering=0) as file:
        for _ in range(table.nbytes >> 20):
            file.write(block)
    return lambda: table.num_rows


def duckdb_file(table, batches, store, system):
    import duckdb
    connection = duckdb.connect(store + "/t.duckdb")
    if system == "duckdb":
        connection.execute("create table t as select * from \"table\"")
    else:
        connection.execute("create table t as select * from \"table\" limit 0; alter table t add primary key (id)")
        connection.execute("insert into t select * from \"table\"")
    connection.close()
    return lambda: duckdb.connect(store + "/t.duckdb").execute("select count(*) from t").fetchone()[0]


def delta(table, batches, store, system):
    from deltalake import DeltaTable, write_deltalake
    write_deltalake(store + "/t", arrow.RecordBatchReader.from_batches(table.schema, batches))
    return lambda: DeltaTable(store + "/t").to_pyarrow_dataset().count_rows()


def lance_dataset(table, batches, store, system):
    import lance
    lance.write_dataset(arrow.RecordBatchReader.from_batches(table.schema, batches), store + "/t")
    return lambda: lance.dataset(store + "/t").count_rows()


def sqlite(table, batches, store, system):
    import sqlite3
    connection = sqlite3.connect(store + "/t.sqlite", isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("create table t(%s)" % ", ".join(name + (" integer primary key" if name == "id" else "") for name in table.column_names))
    insert = "insert into t values (%s)" % ", ".join("?" * table.num_columns)
    for batch in batches:
        columns = [column.cast(arrow.int64()) if arrow.types.is_timestamp(column.type) else column for column in batch.columns]
        connection.execute("begin")
        connection.executemany(insert, zip(*(column.to_pylist() for column in columns)))
        connection.execute("commit")
    connection.execute("pragma wal_checkpoint(truncate)")
    return lambda: connection.execute("select count(*) from t").fetchone()[0]


# system -> (what writes, whether it syncs by itself, its package)
SYSTEMS = {"parquet-zstd1": (parquet_file, False, None), "parquet-snappy": (parquet_file, False, None),
           "arrow": (arrow_file, False, None), "raw": (raw, False, None), "duckdb": (duckdb_file, True, "duckdb"),
           "duckdb-key": (duckdb_file, True, "duckdb"), "delta": (delta, False, "deltalake"), "lance": (lance_dataset, False, "lance"),
           "sqlite": (sqlite, True, "sqlite3")}


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", required=True, choices=SYSTEMS)
    parser.add_argument("--data", required=True)
    parser.add_argument("--store", required=True)
    arguments = parser.parse_args()
    shutil.rmtree(arguments.store, ignore_errors=True)
    os.makedirs(arguments.store)
    write, syncs, package = SYSTEMS[arguments.system]
    if package:
        __import__(package)
    with arrow.OSFile(arguments.data) as file:
        reader = arrow.ipc.open_file(file)
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    table = arrow.Table.from_batches(batches)
    start, cpu_start = time.perf_counter(), cpu()
    count = write(table, batches, arguments.store, arguments.system)
    unsynced = time.perf_counter() - start
    if not syncs:
        for parent, _, names in os.walk(arguments.store):
            for path in [parent, *(os.path.join(parent, name) for name in names)]:
                file = os.open(path, os.O_RDONLY)
                os.fsync(file)
                os.close(file)
    seconds = time.perf_counter() - start
    used = cpu() - cpu_start
    print(json.dumps({
        "workload": "load", "system": arguments.system, "rows": table.num_rows, "columns": table.num_columns, "seconds": seconds,
        "seconds_unsynced": unsynced, "cpu_seconds": used, "rows_per_second": table.num_rows / seconds,
        "raw_bytes": table.nbytes, "bytes": home.directory_bytes(arguments.store), "ok": count() == table.num_rows,
        "load_1m": os.getloadavg()[0]}), flush=True)
    shutil.rmtree(arguments.store, ignore_errors=True)
    os._exit(0)


main()
