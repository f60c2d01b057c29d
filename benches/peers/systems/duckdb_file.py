"""A DuckDB file with a primary key, one transaction a commit: only the newest version survives."""
import os

from .base import System, Unsupported, where


class DuckDB(System):
    table, at = "t", ""

    def create(self, base):
        import duckdb
        os.makedirs(self.store)
        self.connection = duckdb.connect(self.store + "/t.duckdb")
        self.connection.execute("create table t as select * from base limit 0")
        self.connection.execute(f"alter table t add primary key ({', '.join(self.key)})")
        self.connection.execute("insert into t select * from base")
        self.newest = 0

    def apply(self, version, upserts, deletes):
        keys = ", ".join(self.key)
        self.connection.execute("begin")
        self.connection.execute(f"delete from t where ({keys}) in (select ({keys}) from deletes)")
        self.connection.execute("insert or replace into t select * from upserts")
        self.connection.execute("commit")
        self.newest = version

    def close(self):
        self.remember([self.newest])
        self.connection.close()

    def compact(self):
        import duckdb
        connection = duckdb.connect(self.store + "/t.duckdb")
        connection.execute("checkpoint")
        connection.close()

    def open(self, version):
        import duckdb
        if [version] != self.remembered():
            raise Unsupported("no time travel")
        self.connection = duckdb.connect(self.store + "/t.duckdb", read_only=True)

    def scan(self):
        return self.connection.execute(f"select count(*), sum(price) from {self.table} {self.at}").fetchone()

    def lookup(self, key):
        row = self.connection.execute(f"select price from {self.table} {self.at} where {where(key)}").fetchone()
        return row and row[0]
