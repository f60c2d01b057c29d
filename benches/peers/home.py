"""Where the benchmarks keep their environments, data sets and stores: $ASOF_BENCH_HOME, else
target/benches of the repository. Nothing here needs more than the standard library."""
import os

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOME = os.path.abspath(os.environ.get("ASOF_BENCH_HOME", os.path.join(REPOSITORY, "target", "benches")))
PYTHON = os.path.join(HOME, "venv", "bin", "python")
PYTHON_DUCKLAKE = os.path.join(HOME, "venv-ducklake", "bin", "python")
KV = os.path.join(HOME, "target", "release", "asof-bench-kv")
POSTGRES_SOCKET = os.path.join(HOME, "postgres-socket")
POSTGRES_PORT = 54399


def directory_bytes(path):
    """Bytes of the files under a directory."""
    return sum(os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(path) for name in names)


def directory_files(path):
    """Number of the files under a directory."""
    return sum(len(names) for _, _, names in os.walk(path))


def evict(path):
    """Drops what the page cache holds of the files under a directory."""
    os.sync()
    for parent, _, names in os.walk(path):
        for name in names:
            file = os.open(os.path.join(parent, name), os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)
