"""delta-rs: one MERGE a commit, the log's checkpoints as it makes them. It does not sync data files."""
import pyarrow as arrow
import pyarrow.compute as compute

from .base import System, where


class Delta(System):
    configuration = {}

    def create(self, base):
        from deltalake import DeltaTable, write_deltalake
        write_deltalake(self.store, base, configuration=self.configuration)
        self.table = DeltaTable(self.store)

    def apply(self, version, upserts, deletes):
        rows = upserts.append_column("op", arrow.array(["U"] * len(upserts)))
        missing = [name for name in upserts.column_names if name not in deletes.column_names]
        for name in missing:
            deletes = deletes.append_column(name, arrow.nulls(len(deletes), self.columns[name]))
        deletes = deletes.append_column("op", arrow.array(["D"] * len(deletes)))
        source = arrow.concat_tables([rows, deletes.select(rows.column_names)])
        columns = {name: f"s.{name}" for name in self.columns}
        predicate = " and ".join(f"t.{name} = s.{name}" for name in self.key)
        merge = self.table.merge(source, predicate, source_alias="s", target_alias="t")
        merge.when_matched_delete("s.op = 'D'").when_matched_update(columns).when_not_matched_insert(columns).execute()
        assert self.table.version() == version, self.table.version()

    def compact(self):
        from deltalake import DeltaTable
        table = DeltaTable(self.store)
        table.optimize.compact()
        table.create_checkpoint()

    def open(self, version):
        from deltalake import DeltaTable
        self.table = DeltaTable(self.store, version=version)

    def scan(self):
        table = self.table.to_pyarrow_table(columns=["price"])
        return table.num_rows, compute.sum(table["price"]).as_py()

    def lookup(self, key):
        if any(isinstance(value, str) for value in key.values()):  # its reader for pyarrow does not compare texts
            from deltalake import QueryBuilder
            query = QueryBuilder().register("t", self.table).execute(f"select price from t where {where(key)}")
            rows = arrow.table(query.read_all()).to_pylist()
            return rows[0]["price"] if rows else None
        rows = self.table.to_pyarrow_table(filters=[(name, "=", value) for name, value in key.items()]).to_pylist()
        return rows[0]["price"] if rows else None


class DeltaWithFeed(Delta):
    configuration = {"delta.enableChangeDataFeed": "true"}

    def diff(self, start, end):
        from deltalake import DeltaTable
        feed = DeltaTable(self.store).load_cdf(starting_version=start + 1, ending_version=end)
        rows = arrow.table(feed.read_all())
        kind_of_change = rows["_change_type"].cast(arrow.string())
        result = {}
        for part, kinds in (("feed_before", ["delete", "update_preimage"]), ("feed_after", ["insert", "update_postimage"])):
            chosen = rows["price"].filter(compute.is_in(kind_of_change, arrow.array(kinds)))
            result[part] = len(chosen), compute.sum(chosen).as_py()
        return result
