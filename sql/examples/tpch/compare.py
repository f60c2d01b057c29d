"""Compares the answers that the example wrote with DuckDB's over the Parquet files of the same versions.

    python compare.py DIR queries.sql
"""

import csv
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

import duckdb


def same(ours, theirs):
    if theirs is None:
        return ours == ""
    try:
        a, b = Decimal(ours), Decimal(str(theirs))
        # An average of decimals has six digits behind the point here, and is a double there.
        return abs(a - b) <= max(abs(a), abs(b)) * Decimal("1e-6") + Decimal("1e-6")
    except (InvalidOperation, ValueError):
        return ours == str(theirs)


def main(directory, queries):
    queries = [query for query in Path(queries).read_text().split(";") if "select" in query]
    compared = 0
    for answers in sorted(Path(directory, "answers").iterdir()):
        db = duckdb.connect()
        for file in Path(directory, answers.name).glob("*.parquet"):
            db.execute(f"create view {file.stem} as select * from '{file}'")
        for number, query in enumerate(queries, 1):
            expected = db.execute(query).fetchall()
            with open(answers / f"{number:02}.csv", newline="") as file:
                found = list(csv.reader(file))[1:]
            assert len(found) == len(expected), (answers.name, number, len(found), len(expected))
            for ours, theirs in zip(found, expected):
                assert all(map(same, ours, theirs)), (answers.name, number, ours, theirs)
            compared += 1
    print(f"{compared} answers are DuckDB's")


main(*sys.argv[1:])
