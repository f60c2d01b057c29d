"""PostgreSQL (fsync and synchronous_commit on): the same two tables as SQLite, a trigger in plpgsql; rows are copied to
a temporary table, then merged by two statements."""
import io
import os

import pyarrow.csv as csv

import home

from .sqlite import Sqlite

TYPES = {"int32": "integer", "int64": "bigint", "double": "double precision", "timestamp[us]": "timestamp", "string": "text"}


class Postgres(Sqlite):
    def connect(self):
        import psycopg2
        self.connection = psycopg2.connect(host=home.POSTGRES_SOCKET, port=home.POSTGRES_PORT, user="postgres", dbname="postgres")
        self.schema = "asof_" + os.path.basename(os.path.dirname(self.store)).replace("-", "_")
        self.one(f"select set_config('search_path', '{self.schema}, pg_temp', false)")

    def one(self, query):
        cursor = self.connection.cursor()
        cursor.execute(query)
        return cursor.fetchone()

    def run(self, *statements):
        cursor = self.connection.cursor()
        for statement in statements:
            cursor.execute(statement)

    def copy(self, table, rows):
        text = io.BytesIO()
        csv.write_csv(rows, text, csv.WriteOptions(include_header=False))
        text.seek(0)
        self.connection.cursor().copy_expert(f"copy {table}({', '.join(rows.column_names)}) from stdin csv", text)

    def create(self, base):
        os.makedirs(self.store)
        self.connect()
        columns = ", ".join(f"{name} {TYPES[str(kind)]}" for name, kind in self.columns.items())
        keys = ", ".join(self.key)
        self.run(
            f"drop schema if exists {self.schema} cascade", f"create schema {self.schema}",
            "create table current(v int)", "insert into current values (0)",
            f"create table t({columns}, born int not null default 0, primary key ({keys}))",
            f"create table h({columns}, born int not null, died int not null)",
            f"create index on h({keys}, born)", "create index on h(died)", "create index on t(born)",
            f"""create function note() returns trigger language plpgsql as $$ begin
                insert into h select {self.names('old.')}, old.born, (select v from current);
                if tg_op = 'DELETE' then return old; end if; return new; end $$""",
            "create trigger note before update or delete on t for each row execute function note()")
        self.copy("t", base)
        self.connection.commit()
        self.run(f"create temp table s({columns})", f"create temp table d as select {keys} from t limit 0")
        self.connection.commit()
        self.connection.autocommit = False

    def apply(self, version, upserts, deletes):
        changed = ", ".join(f"{name} = excluded.{name}" for name in [*self.columns, "born"] if name not in self.key)
        same = " and ".join(f"t.{name} = d.{name}" for name in self.key)
        self.run("truncate s, d", f"update current set v = {version}")
        self.copy("s", upserts)
        self.copy("d", deletes)
        self.run("analyze s", "analyze d", f"delete from t using d where {same}",
                 f"insert into t select {self.names()}, {version} from s on conflict ({', '.join(self.key)}) do update set {changed}")
        self.connection.commit()

    def measure(self):
        """Notes the size of both tables and their indexes where the store's directory would have it."""
        bytes_used = self.one("select pg_total_relation_size('t') + pg_total_relation_size('h')")[0]
        with open(self.store + "/bytes", "w") as file:
            file.write(str(bytes_used))

    def close(self):
        self.run("analyze t", "analyze h")
        self.measure()
        self.connection.commit()
        self.connection.close()

    def compact(self):
        self.connect()
        self.connection.commit()
        self.connection.autocommit = True
        self.run("vacuum full analyze t", "vacuum full analyze h")
        self.measure()
        self.connection.close()
