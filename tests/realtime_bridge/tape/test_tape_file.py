"""A tape on disk: it survives a killed process, and no trouble with the disk reaches the call."""

import asyncio
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event

from realtime_bridge.tape import PAYLOAD_BYTES_MAX, BackgroundFile, Source, TapeFile, read_tape

CREATED_AT = datetime(2026, 11, 21, tzinfo=UTC)


def tape_file(path, disk, problems, **options):
    return TapeFile(path, disk, created_at=CREATED_AT, metadata={}, on_problem=problems.append, **options)


@contextmanager
def disk_that_hangs():
    """A disk whose only thread is held up until the block ends."""
    release = Event()
    with ThreadPoolExecutor(1) as disk:
        disk.submit(release.wait)
        try:
            yield disk, release
        finally:
            release.set()


def times(path):
    with path.open("rb") as f:
        return [record.time for record in read_tape(f)]


def test_a_closed_tape_holds_every_record(tmp_path):
    async def call():
        with ThreadPoolExecutor(2) as disk:
            tape = tape_file(tmp_path / "call.tape", disk, problems)
            for i in range(5000):
                tape.append(i * 0.02, Source.PHONE, b"%d" % i)
            await tape.close()
            await tape.close()

    problems = []
    asyncio.run(call())
    with (tmp_path / "call.tape").open("rb") as f:
        assert [record.payload for record in read_tape(f)] == [b"%d" % i for i in range(5000)]
    assert problems == []
    assert (tmp_path / "call.tape").stat().st_mode & 0o777 == 0o600


def test_records_after_the_end_are_ignored(tmp_path):
    async def call():
        with ThreadPoolExecutor(1) as disk:
            tape = tape_file(tmp_path / "call.tape", disk, problems)
            tape.append(0.0, Source.PHONE, b"")
            await tape.close()
            assert not tape.is_open
            tape.append(1.0, Source.PHONE, b"")

    problems = []
    asyncio.run(call())
    assert times(tmp_path / "call.tape") == [0.0]
    assert problems == []


WRITE_UNTIL_KILLED = """
    import sys
    from concurrent.futures import ThreadPoolExecutor
    from datetime import UTC, datetime
    from pathlib import Path
    from realtime_bridge.tape import Source, TapeFile

    path = Path(sys.argv[1])
    tape = TapeFile(
        path,
        ThreadPoolExecutor(1),
        created_at=datetime.now(UTC),
        metadata={},
        on_problem=print,
        backlog_bytes_max=1 << 30,  # this loop is faster than any call
    )
    i = 0
    while True:
        tape.append(i / 1000, Source.PHONE, i.to_bytes(4, "little") * (i % 97))
        i += 1
        if i % 10_000 == 0:
            print(i, flush=True)
"""


def test_after_kill_9_the_tape_is_readable_up_to_the_last_whole_record(tmp_path):
    path = tmp_path / "call.tape"
    command = [sys.executable, "-c", textwrap.dedent(WRITE_UNTIL_KILLED), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        appended = 0
        while not path.exists() or path.stat().st_size < 300_000:
            appended = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    with path.open("rb") as f:
        read = list(read_tape(f))
    assert [record.payload for record in read] == [i.to_bytes(4, "little") * (i % 97) for i in range(len(read))]
    assert len(read) > 1000
    assert appended > 0


def test_a_full_disk_ends_the_tape_with_one_problem_and_leaves_what_was_written(tmp_path):
    # The limit on a process's file size fails a write as a full disk does: part of it goes through, the rest does not.
    script = """
        import asyncio, os, resource, signal, sys
        from concurrent.futures import ThreadPoolExecutor
        from datetime import UTC, datetime
        from pathlib import Path
        from realtime_bridge.tape import Source, TapeFile

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        async def call():
            with ThreadPoolExecutor(1) as disk:
                tape = TapeFile(
                    Path(sys.argv[1]), disk, created_at=datetime.now(UTC), metadata={}, on_problem=print
                )
                for i in range(2000):
                    tape.append(i * 0.02, Source.PHONE, os.urandom(160))
                    await asyncio.sleep(0)
                await tape.close()

        asyncio.run(call())
    """
    path = tmp_path / "call.tape"
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert len(said.stdout.splitlines()) == 1
    assert "call.tape is not whole" in said.stdout
    assert "File too large" in said.stdout
    assert said.stderr == ""
    kept = times(path)
    assert kept == [i * 0.02 for i in range(len(kept))]
    assert len(kept) > 500


def test_a_slow_disk_ends_the_tape_instead_of_holding_up_the_call(tmp_path):
    async def call():
        with disk_that_hangs() as (disk, release):
            tape = tape_file(tmp_path / "call.tape", disk, problems, backlog_bytes_max=200_000)
            for i in range(3000):
                tape.append(i * 0.02, Source.PHONE, bytes(160))
            assert not tape.is_open
            assert len(problems) == 1
            release.set()
            await tape.close()

    problems = []
    asyncio.run(call())
    assert "does not keep up" in problems[0]
    kept = times(tmp_path / "call.tape")
    assert kept == [i * 0.02 for i in range(len(kept))]
    assert 160 * len(kept) > 100_000  # what waited already has been written all the same


def test_closing_does_not_wait_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr("realtime_bridge.tape.background.CLOSE_S", 0.01)

    async def call():
        with disk_that_hangs() as (disk, _):
            tape = tape_file(tmp_path / "call.tape", disk, problems)
            await tape.close()

    problems = []
    asyncio.run(call())
    assert len(problems) == 1
    assert "could not be closed" in problems[0]


def test_a_tape_that_exists_is_never_touched(tmp_path):
    async def call():
        with ThreadPoolExecutor(1) as disk:
            tape = tape_file(path, disk, problems)
            tape.append(0.0, Source.PHONE, b"")
            await tape.close()

    problems = []
    path = tmp_path / "call.tape"
    path.write_bytes(b"precious")
    asyncio.run(call())
    assert path.read_bytes() == b"precious"
    assert len(problems) == 1
    assert "File exists" in problems[0]


def test_a_directory_that_is_not_there_is_a_problem_not_an_error(tmp_path):
    async def call():
        with ThreadPoolExecutor(1) as disk:
            tape = tape_file(tmp_path / "gone" / "call.tape", disk, problems)
            await tape.close()

    problems = []
    asyncio.run(call())
    assert len(problems) == 1
    assert "No such file" in problems[0]


def test_a_record_too_long_for_a_tape_ends_it_before_that_record(tmp_path):
    async def call():
        with ThreadPoolExecutor(1) as disk:
            tape = tape_file(tmp_path / "call.tape", disk, problems)
            tape.append(0.0, Source.PHONE, b"")
            tape.append(1.0, Source.PHONE, bytes(PAYLOAD_BYTES_MAX + 1))
            tape.append(2.0, Source.PHONE, b"")
            await tape.close()

    problems = []
    asyncio.run(call())
    assert times(tmp_path / "call.tape") == [0.0]
    assert len(problems) == 1
    assert "too long" in problems[0]


def test_a_disk_that_was_shut_down_is_a_problem_not_an_error(tmp_path):
    async def call():
        with ThreadPoolExecutor(1) as disk:
            tape = tape_file(tmp_path / "call.tape", disk, problems)
        for i in range(100):
            tape.append(float(i), Source.PHONE, b"")
        await tape.close()

    problems = []
    asyncio.run(call())
    assert times(tmp_path / "call.tape") == []
    assert len(problems) == 1
    assert "shutdown" in problems[0]


def test_a_job_that_fails_for_any_reason_is_reported(tmp_path):
    def broken(_):
        raise ZeroDivisionError("division by zero")

    async def call():
        with ThreadPoolExecutor(1) as disk:
            file = BackgroundFile(tmp_path / "file", disk, on_problem=problems.append)
            file.submit(broken, 1)
            await file.close()
            assert not file.is_open

    problems = []
    asyncio.run(call())
    assert problems == ["the recording file is not whole: division by zero"]


def test_jobs_of_one_file_are_done_in_order_by_many_threads(tmp_path):
    async def call():
        with ThreadPoolExecutor(8) as disk:
            files = [BackgroundFile(tmp_path / str(n), disk, on_problem=problems.append) for n in range(4)]
            for i in range(500):
                for file in files:
                    file.submit(lambda f, i=i: f.write(b"%d\n" % i), 8)
            for file in files:
                await file.close()

    problems = []
    asyncio.run(call())
    for n in range(4):
        assert (tmp_path / str(n)).read_text().split() == [str(i) for i in range(500)]
    assert problems == []
