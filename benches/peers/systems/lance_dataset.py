"""Lance: merge_insert, then delete: two of its versions a commit."""
import pyarrow.compute as compute

from .base import System, Unsupported, where


class Lance(System):
    index = False

    def create(self, base):
        import lance
        self.set = lance.write_dataset(base, self.store, enable_stable_row_ids=True)
        if self.index:
            self.set.create_scalar_index(self.key[-1], "BTREE")
        self.numbers = [self.set.version]

    def apply(self, version, upserts, deletes):
        merge = self.set.merge_insert(self.key if len(self.key) > 1 else self.key[0])
        merge.when_matched_update_all().when_not_matched_insert_all().execute(upserts)
        if len(self.key) == 1:
            gone = ", ".join(map(str, deletes[self.key[0]].to_pylist()))
            self.set.delete(f"{self.key[0]} in ({gone})")
        else:
            self.set.delete(" or ".join(f"({where(key)})" for key in deletes.to_pylist()))
        if self.index and version % 20 == 0:
            self.set.optimize.optimize_indices()
        self.numbers.append(self.set.latest_version)

    def close(self):
        self.remember(self.numbers)

    def compact(self):
        import lance
        dataset = lance.dataset(self.store)
        dataset.optimize.compact_files()
        if self.index:
            dataset.optimize.optimize_indices()

    def open(self, version):
        import lance
        self.set = lance.dataset(self.store, version=self.remembered()[version])

    def scan(self):
        table = self.set.to_table(columns=["price"])
        return table.num_rows, compute.sum(table["price"]).as_py()

    def lookup(self, key):
        rows = self.set.to_table(filter=where(key)).to_pylist()
        return rows[0]["price"] if rows else None

    def diff(self, start, end):
        """It tells inserted and updated rows, neither deleted ones nor those before an update."""
        import lance
        numbers = self.remembered()
        dataset = lance.dataset(self.store, version=numbers[end])
        if not hasattr(dataset, "delta"):
            raise Unsupported("no diff in this release")
        delta = dataset.delta(begin_version=numbers[start], end_version=numbers[end])
        rows, prices = 0, 0.0
        for batches in (delta.get_inserted_rows(), delta.get_updated_rows()):
            for batch in batches:
                rows, prices = rows + batch.num_rows, prices + (compute.sum(batch["price"]).as_py() or 0.0)
        return {"after": (rows, prices)}


class LanceWithIndex(Lance):
    index = True
