"""Reads files of past states with everything that reads such files and compares every value with what was written.

    compare.py DIRECTORY

For each STATE.TABLE.expected.json in the directory there are STATE.TABLE.parquet, .arrow, .csv and .jsonl. What a file
must hold is written as {"columns": [[name, type], ..], "rows": [[value, ..], ..]}, in the order of the file (Parquet: in any). Values are
exact: integers, unscaled decimals, days and ticks as texts, floats as hex of their bits (every NaN is "nan"), binary as
hex, lists and structs as arrays. Each reader's values are brought into that form through Arrow, and compared.

Parquet has no seconds: they must come as milliseconds. What a reader cannot show as it is, as_shown names with the reason.
"""

import decimal
import json
import re
import struct
import sys
from pathlib import Path

import chdb
import datafusion
import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.ipc
import pyarrow.parquet

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
DECIMAL = decimal.Context(prec=100, traps=[decimal.Inexact, decimal.InvalidOperation])


class Differs(Exception):
    """What was read is not what was written."""


# Values from Arrow


def from_arrow(array, kind):
    """The values of an Arrow array, whatever its physical type, in the form of the expectations."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    valid = array.is_valid().to_pylist()
    values = (SCALARS.get(kind["kind"]) or NESTED[kind["kind"]])(array, kind)
    return [value if is_valid else None for value, is_valid in zip(values, valid, strict=True)]


def booleans(array, _):
    need(pa.types.is_boolean(array.type), array.type)
    return array.to_pylist()


def integers(array, _):
    need(pa.types.is_integer(array.type), array.type)
    return [str(value) for value in array.to_pylist()]


def floats(array, kind):
    width = {"float32": pa.float32(), "float64": pa.float64()}[kind["kind"]]
    need(array.type == width, array.type)
    return [value if value is None else float_bits(value, kind) for value in array.to_pylist()]


def float_bits(value, kind):
    if value != value:
        return "nan"
    return struct.pack(">f" if kind["kind"] == "float32" else ">d", value).hex()


def decimals(array, kind):
    need(pa.types.is_decimal(array.type), array.type)
    return [value if value is None else unscaled(value, kind) for value in array.to_pylist()]


def unscaled(value, kind):
    return str(int(DECIMAL.scaleb(DECIMAL.create_decimal(value), kind["scale"]).to_integral_exact(context=DECIMAL)))


def texts(array, _):
    need(pa.types.is_string(array.type) or pa.types.is_large_string(array.type), array.type)
    return array.to_pylist()


def binaries(array, kind):
    is_binary = [pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary]
    need(any(check(array.type) for check in is_binary), array.type)
    return [value if value is None else value.hex() for value in array.to_pylist()]


def days(array, _):
    need(pa.types.is_date32(array.type), array.type)
    return [str(value) for value in array.cast(pa.int32()).to_pylist()]


def ticks(array, kind):
    """Times and timestamps: ticks of the unit that the type has, if the array's unit can tell."""
    if kind["kind"] == "time":
        need(pa.types.is_time(array.type), array.type)
    else:
        need(pa.types.is_timestamp(array.type), array.type)
        need((array.type.tz is None) == (kind["zone"] is None), array.type)
    number = pa.int32() if array.type.bit_width == 32 else pa.int64()
    values = array.cast(number).to_pylist()
    return [value if value is None else in_unit(value, array.type.unit, kind["unit"]) for value in values]


def in_unit(value, unit, wanted):
    scaled, rest = divmod(value * PER_SECOND[wanted], PER_SECOND[unit])
    if rest:
        raise Differs(f"{value} {unit} is no whole number of {wanted}")
    return str(scaled)


def lists(array, kind):
    need(pa.types.is_list(array.type) or pa.types.is_large_list(array.type), array.type)
    elements = from_arrow(array.values, kind["of"])
    offsets = array.offsets.to_pylist()
    return [elements[start:end] for start, end in zip(offsets, offsets[1:])]


def structs(array, kind):
    need(pa.types.is_struct(array.type), array.type)
    names = [field.name for field in array.type]
    need(names == [name for name, _ in kind["members"]], array.type)
    members = [from_arrow(member, of) for member, (_, of) in zip(array.flatten(), kind["members"], strict=True)]
    return [list(row) for row in zip(*members, strict=True)]


INTEGERS = {f"{sign}int{bits}" for sign in ["", "u"] for bits in [8, 16, 32, 64]}
SCALARS = {
    "bool": booleans,
    **dict.fromkeys(INTEGERS, integers),
    "float32": floats,
    "float64": floats,
    "decimal": decimals,
    "text": texts,
    "binary": binaries,
    "fixed": binaries,
    "date": days,
    "time": ticks,
    "timestamp": ticks,
}
NESTED = {"list": lists, "struct": structs}


def need(holds, found):
    if not holds:
        raise Differs(f"read as {found}")


def exact_type(kind, seconds):
    """The Arrow type that a file declares; `seconds` is the unit that stands for seconds in it."""
    name = kind["kind"]
    unit = kind.get("unit")
    unit = seconds if unit == "s" else unit
    match name:
        case "decimal":
            return pa.decimal128(kind["precision"], kind["scale"])
        case "fixed":
            return pa.binary(kind["width"])
        case "time":
            return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
        case "timestamp":
            return pa.timestamp(unit, kind["zone"])
        case "list":
            return pa.list_(exact_type(kind["of"], seconds))
        case "struct":
            return pa.struct([pa.field(member, exact_type(of, seconds)) for member, of in kind["members"]])
    plain = {"bool": pa.bool_(), "text": pa.string(), "binary": pa.binary(), "date": pa.date32()}
    return plain.get(name) or pa.type_for_alias(name)


def same_type(a, b):
    """Whether two types are the same but for the names of list elements."""
    if pa.types.is_list(a) and pa.types.is_list(b):
        return same_type(a.value_type, b.value_type)
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        pairs = zip(a, b, strict=False)
        return len(a) == len(b) and all(x.name == y.name and same_type(x.type, y.type) for x, y in pairs)
    return a == b


# Values from text, as docs/text-forms.md says


def from_text(text, kind):
    """The value that a cell of CSV means."""
    match kind["kind"]:
        case "bool":
            return {"true": True, "false": False}[text]
        case name if name in INTEGERS:
            return str(int(text))
        case "float32" | "float64":
            return float_bits(float(text), kind)
        case "decimal":
            return unscaled(text, kind)
        case "text":
            return text
        case "binary" | "fixed":
            return bytes.fromhex(text).hex()
        case "date":
            return str(days_of(text))
        case "time":
            return str(time_of(text, kind["unit"]))
        case "timestamp":
            date, time = text.split("T")
            if kind["zone"] is not None:
                need(time.endswith("Z"), text)
                time = time[:-1]
            return str(days_of(date) * 86_400 * PER_SECOND[kind["unit"]] + time_of(time, kind["unit"]))
        case _:
            return from_json(parse_json(text), kind)


def days_of(text):
    """Days since 1970 of a date, by counting (civil calendar, any year)."""
    year, month, day = re.fullmatch(r"([+-]?\d{4,})-(\d\d)-(\d\d)", text).groups()
    year, month, day = int(year), int(month), int(day)
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def time_of(text, unit):
    digits = len(str(PER_SECOND[unit])) - 1
    form = r"(\d\d):(\d\d):(\d\d)" + (rf"\.(\d{{{digits}}})" if digits else "()")
    hours, minutes, seconds, fraction = re.fullmatch(form, text).groups()
    return (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * PER_SECOND[unit] + int(fraction or 0)


class Number(str):
    """A number of JSON as it is written."""


def parse_json(text):
    return json.loads(text, parse_int=Number, parse_float=Number, object_pairs_hook=list_of_members)


class Members(list):
    """An object of JSON: names and values in order."""


def list_of_members(pairs):
    return Members(pairs)


def from_json(value, kind):
    """The value that a value of JSON means."""
    if value is None:
        return None
    match kind["kind"]:
        case "bool":
            need(isinstance(value, bool), value)
            return value
        case "list":
            return [from_json(item, kind["of"]) for item in value]
        case "struct":
            need([name for name, _ in value] == [name for name, _ in kind["members"]], value)
            return [from_json(item, of) for (_, item), (_, of) in zip(value, kind["members"])]
        case name if name in INTEGERS or name == "decimal":
            need(isinstance(value, Number), value)
        case "float32" | "float64":
            need(isinstance(value, Number) or value in ("NaN", "inf", "-inf"), value)
        case _:
            need(isinstance(value, str) and not isinstance(value, Number), value)
    return from_text(value, kind)


def texts_or_arrow(array, kind):
    """Columns that a reader was told to leave as text are parsed here, others are typed by the reader."""
    if kind["kind"] != "text" and (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return [value if value is None else from_text(value, kind) for value in array.to_pylist()]
    return from_arrow(array, kind)


# Readers: each gives an Arrow table


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def duck(query):
    with duckdb.connect() as connection:
        # Instants come back as they are, and files in the order they have.
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = true")
        return connection.sql(query).to_arrow_table()


def duck_columns(types):
    return "{" + ", ".join(f"{quoted(name)}: {quoted(kind)}" for name, kind in types.items()) + "}"


def duck_type(kind):
    """The type that DuckDB is told to read from text."""
    match kind["kind"]:
        case "bool" | "float32" | "float64":
            return {"bool": "BOOLEAN", "float32": "FLOAT", "float64": "DOUBLE"}[kind["kind"]]
        case name if name in INTEGERS:
            prefix = "U" if name.startswith("u") else ""
            return prefix + {"8": "TINYINT", "16": "SMALLINT", "32": "INTEGER", "64": "BIGINT"}[name.lstrip("uint")]
        case "decimal":
            return f"DECIMAL({kind['precision']},{kind['scale']})"
        case "date":
            return "DATE"
    return "VARCHAR"


def csv_null(columns):
    """How NULL is written: a table of one column has a word for it."""
    return "NULL" if len(columns) == 1 else ""


def parquet_pyarrow(path, columns):
    table = pyarrow.parquet.read_table(path)
    for field, (name, kind) in zip(table.schema, columns, strict=True):
        need(same_type(field.type, exact_type(kind, "ms")), f"{name}: {field.type}")
    return table


def parquet_duckdb(path, columns):
    return duck(f"SELECT * FROM read_parquet({quoted(path)})")


def parquet_polars(path, columns):
    return polars.read_parquet(path).to_arrow()


def parquet_mapped(path, columns):
    return pyarrow.parquet.read_table(path, memory_map=True)


def parquet_dataset(path, columns):
    return pyarrow.dataset.dataset(path, format="parquet").to_table()


def parquet_streamed(path, columns):
    return polars.scan_parquet(path).collect(engine="streaming").to_arrow()


def parquet_pandas(path, columns):
    return pa.Table.from_pandas(pandas.read_parquet(path, dtype_backend="pyarrow"), preserve_index=False)


def parquet_datafusion(path, columns):
    context = datafusion.SessionContext()
    context.register_parquet("file", path, skip_metadata=False)
    table = context.table("file").to_arrow_table()
    views = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    shown = [column.cast(views.get(column.type, column.type)) for column in table.columns]
    return pa.Table.from_arrays(shown, names=table.column_names)


def parquet_clickhouse(path, columns):
    table = chdb.query(
        f"SELECT * FROM file({quoted(path)}, Parquet) SETTINGS session_timezone = 'UTC', "
        "output_format_arrow_string_as_string = 0, output_format_arrow_fixed_string_as_fixed_byte_array = 1",
        "ArrowTable",
    )
    shown = [from_clickhouse(column, kind) for column, (_, kind) in zip(table.columns, columns, strict=True)]
    return pa.Table.from_arrays(shown, names=table.column_names)


def from_clickhouse(column, kind):
    """ClickHouse has one type for text and bytes, reads times of the day as timestamps, and timestamps without a zone as UTC."""
    wanted = exact_type(kind, "ms")
    match kind["kind"]:
        case "time":
            return column.cast(pa.int64()).cast(pa.int32() if wanted.bit_width == 32 else pa.int64()).cast(wanted)
        case "timestamp" | "text":
            return column.cast(wanted)
        case "list" | "struct":
            return pa.nulls(len(column), wanted)
    return column


def arrow_pyarrow(path, columns):
    with pa.memory_map(path) as source:
        table = pyarrow.ipc.open_file(source).read_all()
    for field, (name, kind) in zip(table.schema, columns, strict=True):
        need(same_type(field.type, exact_type(kind, "s")), f"{name}: {field.type}")
    table.validate(full=True)
    return table


def arrow_duckdb(path, columns):
    with pa.memory_map(path) as source, duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("file", pyarrow.ipc.open_file(source).read_all())
        return connection.sql("SELECT * FROM file").to_arrow_table()


def arrow_file(path, columns):
    with pa.OSFile(path) as source:
        return pyarrow.ipc.open_file(source).read_all()


def arrow_stream(path, columns):
    """As a stream, which knows nothing of the footer and ends where the batches do."""
    with pa.OSFile(path) as source:
        source.seek(64)
        table = pyarrow.ipc.open_stream(source).read_all()
    return table


def arrow_dataset(path, columns):
    return pyarrow.dataset.dataset(path, format="ipc").to_table()


def arrow_pandas(path, columns):
    return pa.Table.from_pandas(pandas.read_feather(path, dtype_backend="pyarrow"), preserve_index=False)


def arrow_polars(path, columns):
    return polars.read_ipc(path).to_arrow()


def arrow_polars_bytes(path, columns):
    return polars.read_ipc(Path(path).read_bytes()).to_arrow()


def arrow_polars_lazy(path, columns):
    return polars.scan_ipc(path).collect().to_arrow()


def arrow_polars_streamed(path, columns):
    return polars.scan_ipc(path).collect(engine="streaming").to_arrow()


def csv_pyarrow(path, columns):
    as_text = {"binary", "fixed", "time", "timestamp", "list", "struct"}
    types = {name: pa.string() if kind["kind"] in as_text else exact_type(kind, "s") for name, kind in columns}
    return pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=types,
            null_values=[csv_null(columns)],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def csv_duckdb(path, columns):
    types = duck_columns({name: duck_type(kind) for name, kind in columns})
    return duck(
        f"SELECT * FROM read_csv({quoted(path)}, auto_detect=false, header=true, delim=',', quote='\"', escape='\"', "
        f"new_line='\\n', nullstr={quoted(csv_null(columns))}, allow_quoted_nulls=false, columns={types})"
    )


def csv_polars(path, columns):
    # Polars leaves the quotes inside a quoted name doubled.
    return polars.read_csv(
        path,
        schema={name.replace('"', '""'): polars.String for name, _ in columns},
        null_values=[csv_null(columns)] if csv_null(columns) else None,
    ).to_arrow()


def jsonl_python(path, columns):
    rows = [parse_json(line) for line in Path(path).read_bytes().decode().split("\n")[:-1]]
    names = [name for name, _ in columns]
    for row in rows:
        need([name for name, _ in row] == names, row)
    return [[from_json(row[nth][1], kind) for row in rows] for nth, (_, kind) in enumerate(columns)]


def jsonl_duckdb(path, columns):
    types = duck_columns({name: "VARCHAR" if goes_through_double(kind) else duck_type(kind) for name, kind in columns})
    return duck(f"SELECT * FROM read_json({quoted(path)}, format='newline_delimited', columns={types})")


def jsonl_polars(path, columns):
    return polars.read_ndjson(path, schema={name: polars.String for name, _ in columns}).to_arrow()


READERS = {
    "parquet": {
        "pyarrow": parquet_pyarrow,
        "pyarrow, memory map": parquet_mapped,
        "pyarrow, dataset": parquet_dataset,
        "DuckDB": parquet_duckdb,
        "Polars": parquet_polars,
        "Polars, streaming": parquet_streamed,
        "pandas": parquet_pandas,
        "DataFusion": parquet_datafusion,
        "ClickHouse": parquet_clickhouse,
    },
    "arrow": {
        "pyarrow": arrow_file,
        "pyarrow, memory map": arrow_pyarrow,
        "pyarrow, stream": arrow_stream,
        "pyarrow, dataset": arrow_dataset,
        "DuckDB": arrow_duckdb,
        "Polars": arrow_polars,
        "Polars, bytes": arrow_polars_bytes,
        "Polars, lazy": arrow_polars_lazy,
        "Polars, streaming": arrow_polars_streamed,
        "pandas": arrow_pandas,
    },
    "csv": {"pyarrow": csv_pyarrow, "DuckDB": csv_duckdb, "Polars": csv_polars},
    "jsonl": {"Python": jsonl_python, "DuckDB": jsonl_duckdb, "Polars": jsonl_polars},
}


# What cannot be shown as it is


def as_shown(form, reader, columns, kind, values):
    """The values as a reader can show them; used on both sides of a comparison."""
    if (form, reader) == ("csv", "Polars") and len(columns) == 1:
        # Polars does not tell "NULL" in quotes from NULL without, the only way to write a lone NULL that no reader skips.
        return [None if value == "NULL" else value for value in values]
    if reader == "ClickHouse" and kind["kind"] in ("list", "struct"):
        # It has no lists or structs that are NULL.
        return [None] * len(values)
    if form == "jsonl" and reader in ("DuckDB", "Polars") and goes_through_double(kind):
        return [value if value is None else float(decimal.Decimal(value).scaleb(-kind["scale"])) for value in values]
    return values


def goes_through_double(kind):
    """DuckDB and Polars read a number of JSON with a fraction as a double, whatever type they are told."""
    return kind["kind"] == "decimal" and kind["scale"] > 0 and kind["precision"] > 15


def compare(path, form, reader, columns, wanted):
    """Reads one file with one reader; raises where it differs."""
    found = READERS[form][reader](str(path), columns)
    if isinstance(found, pa.Table):
        names = [name.replace('""', '"') for name in found.column_names]
        need(names == [name for name, _ in columns], f"columns {names}")
        convert = from_arrow if form in ("parquet", "arrow") else texts_or_arrow
        found = [convert(column, kind) for column, (_, kind) in zip(found.columns, columns)]
    if form == "parquet":
        # Row groups are those of data files: rows of a table that was updated are not in one order.
        found, wanted = (in_one_order(list(side)) for side in (found, wanted))
    for (name, kind), values, expected in zip(columns, found, wanted, strict=True):
        values, expected = (as_shown(form, reader, columns, kind, side) for side in (list(values), list(expected)))
        if values == expected:
            continue
        need(len(values) == len(expected), f"{len(values)} rows, not {len(expected)}")
        row = next(row for row, pair in enumerate(zip(values, expected)) if pair[0] != pair[1])
        raise Differs(f"column {name}, row {row}: read {values[row]!r}, written {expected[row]!r}")


def in_one_order(columns):
    """The same rows, column by column, in an order that does not depend on the file's."""
    rows = sorted(zip(*columns, strict=True), key=repr)
    return list(zip(*rows, strict=True)) or [()] * len(columns)


def main(directory):
    agreed, differing = 0, []
    for path in sorted(Path(directory).glob("*.expected.json")):
        expected = json.loads(path.read_text())
        columns = expected["columns"]
        wanted = list(zip(*expected["rows"], strict=True)) or [()] * len(columns)
        for form, readers in READERS.items():
            file = path.with_name(path.name.removesuffix("expected.json") + form)
            for reader in readers:
                try:
                    compare(file, form, reader, columns, wanted)
                    agreed += 1
                # Whatever a reader raises is a difference; the others are tried all the same.
                except Exception as error:  # noqa: BLE001
                    differing.append(f"{file.name} by {reader}: {type(error).__name__}: {error}")
    for line in differing:
        print(line)
    print(f"{agreed} readings agree" + (f", {len(differing)} differ" if differing else ""))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
