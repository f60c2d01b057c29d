"""What every system does in the history benchmark."""
import json


class Unsupported(Exception):
    """The system has no such thing."""


class System:
    """A store of one table. `key` names the key columns, `column_types` the Arrow type of every column."""

    def __init__(self, store, key, column_types):
        self.store, self.key, self.columns = store, key, column_types

    def create(self, base):
        """Makes the store with these rows."""

    def apply(self, version, upserts, deletes):
        """One commit: rows that are new or replace those of their keys, and keys of rows that go."""

    def close(self):
        """Ends writing."""

    def compact(self):
        """Whatever the system offers against what many commits left behind, history kept."""
        raise Unsupported("no compaction")

    def open(self, version):
        """A version, ready to be read."""

    def scan(self):
        """(rows, sum of price) of the open version."""

    def lookup(self, key):
        """The price of a row of the open version; the key by column."""

    def diff(self, start, end):
        """({part: (rows, sum of price)}) for some of: before, after (net, rows changed as they were and as they are),
        feed_before, feed_after (every commit's changes), keys (changed keys: rows alone)."""
        raise Unsupported("no diff")

    def remember(self, numbers):
        """Notes which of the system's versions are which of ours, beside the store."""
        with open(self.store + ".versions.json", "w") as file:
            json.dump(numbers, file)

    def remembered(self):
        with open(self.store + ".versions.json") as file:
            return json.load(file)


def literal(value):
    """A key's value in SQL."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def where(key, prefix=""):
    return " and ".join(f"{prefix}{name} = {literal(value)}" for name, value in key.items())
