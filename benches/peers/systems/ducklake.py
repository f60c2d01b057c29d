"""DuckLake with a catalog in a DuckDB file: delete and merge in one transaction a commit. It syncs the catalog only."""
import glob
import os

from .duckdb_file import DuckDB


class DuckLake(DuckDB):
    table = "lake.t"

    def connect(self):
        import duckdb
        import duckdb_extension_ducklake as package
        folder = os.path.dirname(package.__file__)
        self.connection = duckdb.connect()
        self.connection.execute("load '%s'" % glob.glob(folder + "/extensions/*/ducklake.duckdb_extension")[0])
        self.connection.execute(f"attach 'ducklake:{self.store}/catalog.ducklake' as lake (data_path '{self.store}/data/')")

    def snapshot(self):
        return self.connection.execute("select max(snapshot_id) from lake.snapshots()").fetchone()[0]

    def create(self, base):
        os.makedirs(self.store)
        self.connect()
        self.connection.execute("create table lake.t as select * from base")
        self.numbers = [self.snapshot()]

    def apply(self, version, upserts, deletes):
        keys = ", ".join(self.key)
        same = " and ".join(f"t.{name} = s.{name}" for name in self.key)
        changed = ", ".join(f"{name} = s.{name}" for name in self.columns if name not in self.key)
        values = ", ".join(f"s.{name}" for name in self.columns)
        self.connection.execute("begin")
        self.connection.execute(f"delete from lake.t where ({keys}) in (select ({keys}) from deletes)")
        self.connection.execute(f"merge into lake.t t using upserts s on {same} when matched then update set {changed} "
                                f"when not matched then insert values ({values})")
        self.connection.execute("commit")
        self.numbers.append(self.snapshot())

    def close(self):
        self.remember(self.numbers)
        self.connection.close()

    def compact(self):
        self.connect()
        self.connection.execute("call ducklake_merge_adjacent_files('lake')")
        self.connection.execute("call ducklake_rewrite_data_files('lake')")
        self.connection.close()

    def open(self, version):
        self.connect()
        self.at = f"at (version => {self.remembered()[version]})"

    def diff(self, start, end):
        numbers = self.remembered()
        self.connect()
        rows = self.connection.execute(
            f"""select change_type in ('delete', 'update_preimage'), count(*), sum(price)
                from lake.table_changes('t', {numbers[start] + 1}, {numbers[end]}) group by 1""").fetchall()
        return {"feed_before" if gone else "feed_after": (count, total) for gone, count, total in rows}
