"""SQLite (write-ahead log, synchronous=FULL): the current table, and its history filled by triggers."""
import os

import pyarrow as arrow

from .base import System, where

TYPES = {"int32": "integer", "int64": "integer", "double": "real", "timestamp[us]": "integer", "string": "text"}


class Sqlite(System):
    def names(self, prefix=""):
        return ", ".join(prefix + name for name in self.columns)

    def tables(self):
        columns = ", ".join(f"{name} {TYPES[str(kind)]}" for name, kind in self.columns.items())
        keys = ", ".join(self.key)
        old = f"insert into h select {self.names('old.')}, old.born, (select v from current)"
        return f"""
            create table current(v integer); insert into current values (0);
            create table t({columns}, born integer not null, primary key ({keys}));
            create table h({columns}, born integer not null, died integer not null);
            create index h_key on h({keys}, born); create index h_died on h(died); create index t_born on t(born);
            create trigger t_update before update on t begin {old}; end;
            create trigger t_delete before delete on t begin {old}; end;"""

    def connect(self):
        import sqlite3
        self.connection = sqlite3.connect(self.store + "/t.sqlite", isolation_level=None)
        self.connection.execute("pragma journal_mode = wal")
        self.connection.execute("pragma synchronous = full")
        self.connection.execute("pragma cache_size = -262144")

    @staticmethod
    def tuples(table):
        columns = [column.cast(arrow.int64()) if arrow.types.is_timestamp(column.type) else column for column in table.columns]
        return zip(*(column.to_pylist() for column in columns))

    def create(self, base):
        os.makedirs(self.store)
        self.connect()
        self.connection.executescript(self.tables())
        self.connection.execute("begin")
        marks = ", ".join("?" * len(self.columns))
        self.connection.executemany(f"insert into t values ({marks}, 0)", self.tuples(base))
        self.connection.execute("commit")

    def apply(self, version, upserts, deletes):
        one = " and ".join(f"{name} = ?" for name in self.key)
        marks = ", ".join("?" * len(self.columns))
        changed = ", ".join(f"{name} = excluded.{name}" for name in [*self.columns, "born"] if name not in self.key)
        self.connection.execute("begin")
        self.connection.execute("update current set v = ?", (version,))
        self.connection.executemany(f"delete from t where {one}", self.tuples(deletes))
        self.connection.executemany(f"insert into t values ({marks}, {version}) on conflict({', '.join(self.key)}) "
                                    f"do update set {changed}", self.tuples(upserts))
        self.connection.execute("commit")

    def close(self):
        self.connection.execute("pragma wal_checkpoint(truncate)")
        self.connection.close()

    def compact(self):
        self.connect()
        self.connection.execute("vacuum")
        self.close()

    def one(self, query):
        return self.connection.execute(query).fetchone()

    def open(self, version):
        self.version = version
        self.connect()
        self.one("select v from current")

    def versions(self, columns, live, dead):
        return f"(select {columns} from t where {live} union all select {columns} from h where {dead}) x"

    def scan(self):
        v = self.version
        return self.one("select count(*), sum(price) from " + self.versions("price", f"born <= {v}", f"born <= {v} and died > {v}"))

    def lookup(self, key):
        v, is_it = self.version, where(key)
        rows = self.versions("price", f"{is_it} and born <= {v}", f"{is_it} and born <= {v} and died > {v}")
        row = self.one("select price from " + rows)
        return row and row[0]

    def diff(self, start, end):
        if not hasattr(self, "connection"):
            self.connect()
        before = self.one(f"select count(*), sum(price) from h where died > {start} and died <= {end} and born <= {start}")
        after = self.one("select count(*), sum(price) from " + self.versions(
            "price", f"born > {start} and born <= {end}", f"died > {end} and born > {start} and born <= {end}"))
        return {"before": before, "after": after}
