"""A full Parquet copy per version (zstd, row groups of 131,072 rows), not synced: the limit for reading a version."""
import os

import pyarrow as arrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from .base import System


class PlainParquet(System):
    def path(self, version):
        return f"{self.store}/v{version:05d}.parquet"

    def write(self, version):
        parquet.write_table(self.table, self.path(version), compression="zstd", compression_level=3, row_group_size=131_072)

    def keys_of(self, table):
        columns = [table[name].combine_chunks() for name in self.key]
        return columns[0] if len(columns) == 1 else compute.binary_join_element_wise(*columns, "\0")

    def create(self, base):
        os.makedirs(self.store)
        self.table = base.sort_by([(name, "ascending") for name in self.key]).combine_chunks()
        self.write(0)

    def apply(self, version, upserts, deletes):
        gone = arrow.concat_arrays([self.keys_of(upserts), self.keys_of(deletes)])
        kept = self.table.filter(compute.invert(compute.is_in(self.keys_of(self.table), gone)))
        order = [(name, "ascending") for name in self.key]
        self.table = arrow.concat_tables([kept, upserts]).sort_by(order).combine_chunks()
        self.write(version)

    def open(self, version):
        self.file = parquet.ParquetFile(self.path(version))

    def scan(self):
        table = self.file.read(["price"])
        return table.num_rows, compute.sum(table["price"]).as_py()

    def lookup(self, key):
        """Row groups by the first key column's statistics, then the key columns, then one row group's price."""
        metadata, first = self.file.metadata, self.key[0]
        for group in range(metadata.num_row_groups):
            limits = metadata.row_group(group).column(0).statistics
            if not limits.min <= key[first] <= limits.max:
                continue
            columns = self.file.read_row_group(group, self.key)
            found = None
            for name in self.key:
                equal = compute.equal(columns[name], key[name])
                found = equal if found is None else compute.and_(found, equal)
            at = compute.index(found, True).as_py()
            if at >= 0:
                return self.file.read_row_group(group).slice(at, 1).to_pylist()[0]["price"]
        return None

    def diff(self, start, end):
        import duckdb
        using = ", ".join(self.key)
        differ = " or ".join(f"x.{name} is distinct from y.{name}" for name in self.columns if name not in self.key)
        first = self.key[0]
        row = duckdb.connect().execute(
            f"""select count(xk), sum(xp), count(yk), sum(yp) from (
                select x.{first} xk, x.price xp, y.{first} yk, y.price yp
                from '{self.path(start)}' x full join '{self.path(end)}' y using ({using})
                where {differ})""").fetchone()
        return {"before": row[:2], "after": row[2:]}
