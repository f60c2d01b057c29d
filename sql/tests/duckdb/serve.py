"""Answers statements, a line of JSON each, with the rows that DuckDB gives, as texts."""

import json
import sys

import duckdb

connection = duckdb.connect()


def shown(value):
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


for line in sys.stdin:
    try:
        rows = connection.execute(json.loads(line)).fetchall()
        answer = {"rows": ["|".join(shown(value) for value in row) for row in rows]}
    except Exception as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
