"""The systems compared with asof: one module each, with the same few verbs (see base.System)."""
import importlib

# name -> (module, class). The plain Parquet file is the limit for reading, not for anything else.
KNOWN = {
    "parquet": ("plain_parquet", "PlainParquet"),
    "delta": ("delta", "Delta"),
    "delta-feed": ("delta", "DeltaWithFeed"),
    "lance": ("lance_dataset", "Lance"),
    "lance-index": ("lance_dataset", "LanceWithIndex"),
    "ducklake": ("ducklake", "DuckLake"),
    "duckdb": ("duckdb_file", "DuckDB"),
    "sqlite": ("sqlite", "Sqlite"),
    "postgres": ("postgres", "Postgres"),
}


def load(name, store, key, column_types):
    """The system, its packages imported."""
    module, cls = KNOWN[name]
    return getattr(importlib.import_module(f"systems.{module}"), cls)(store, key, column_types)
