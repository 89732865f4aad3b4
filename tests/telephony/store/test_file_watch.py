"""Looking at a file's times: no write is missed, and a file at rest costs nothing."""

import sqlite3
from contextlib import closing

from telephony.store.file_watch import LOOKS_MAX, STEP_NS_MAX, FileWatch


def looks(watch, count):
    return [watch.has_changed() for _ in range(count)]


def test_each_commit_of_another_connection_is_seen_and_rest_is_rest(tmp_path):
    path = tmp_path / "a.db"
    later = path.parent.stat().st_mtime_ns + 3600 * 10**9  # long after all that is written here
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (x)")
        watch = FileWatch(path, lambda: later)
        assert watch.has_changed()
        assert looks(watch, 5) == [False] * 5
        for _ in range(3):
            writer.execute("INSERT INTO t VALUES ('a row that makes the file longer')")
            assert watch.has_changed()
            assert not watch.has_changed()


def test_a_file_that_was_written_a_moment_ago_counts_as_changed(tmp_path):
    path = tmp_path / "a.db"
    path.write_text("x")
    written = path.stat().st_mtime_ns
    now = [written + STEP_NS_MAX - 1]
    watch = FileWatch(path, lambda: now[0])
    assert looks(watch, 3) == [True] * 3
    now[0] += 1
    assert not watch.has_changed()


def test_now_and_then_it_is_changed_whatever_the_times_say(tmp_path):
    path = tmp_path / "gone.db"
    watch = FileWatch(path)
    assert looks(watch, 2 * LOOKS_MAX + 1) == ([True] + [False] * (LOOKS_MAX - 1)) * 2 + [True]
