"""The spool: whole records in order, on the disk, up to a limit; what is damaged is set aside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.store.spool import Spool, SpoolFullError


def test_records_come_back_in_the_order_in_which_they_were_put(tmp_path):
    spool = Spool(tmp_path / "spool")
    for number in range(25):
        spool.put(b"%d" % number)
    assert [record.data for record in spool.oldest()] == [b"%d" % number for number in range(25)]
    assert [record.data for record in spool.oldest(2)] == [b"0", b"1"]
    assert spool.measure() == 25


def test_the_order_survives_a_clock_that_is_set_back(tmp_path, monkeypatch):
    spool = Spool(tmp_path)
    times = iter([1000, 500, 400, 2000])
    monkeypatch.setattr("telephony.store.spool.time.time_ns", lambda: next(times))
    for number in range(4):
        spool.put(b"%d" % number)
    assert [record.data for record in spool.oldest()] == [b"0", b"1", b"2", b"3"]


def test_records_survive_their_process_and_leave_when_they_are_stored(tmp_path):
    first = Spool(tmp_path)
    name = first.put(b"a")
    first.put(b"b")
    second = Spool(tmp_path)
    assert second.files == 2
    second.remove(name)
    second.remove(name)  # as another process may have done
    assert not first.is_there(name)
    assert [record.data for record in first.oldest()] == [b"b"]


def test_a_record_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    spool = Spool(tmp_path)

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("telephony.store.spool.os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        spool.put(b"half")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    (tmp_path / ".00000000000000000001-1-0.json").write_bytes(b"what a crash left")
    assert spool.oldest() == []
    assert spool.measure() == 0


def test_it_takes_so_many_bytes_and_records_and_no_more(tmp_path):
    spool = Spool(tmp_path / "bytes", bytes_max=10)
    spool.put(b"12345678")
    with pytest.raises(SpoolFullError, match=r"is full: 1 records, 8 bytes; at most .* 10 bytes"):
        spool.put(b"123")
    spool.put(b"12")
    spool = Spool(tmp_path / "files", files_max=2)
    names = [spool.put(b"") for _ in range(2)]
    with pytest.raises(SpoolFullError):
        spool.put(b"")
    spool.remove(names[0])
    spool.measure()
    spool.put(b"")


def test_what_cannot_be_stored_is_kept_for_people(tmp_path):
    spool = Spool(tmp_path)
    name = spool.put(b"odd")
    where = spool.set_aside(name)
    assert where.read_bytes() == b"odd"
    assert spool.oldest() == []
    assert Spool(tmp_path).files == 0


def test_nobody_else_may_read_it(tmp_path):
    spool = Spool(tmp_path / "spool")
    spool.set_aside(spool.put(b"x"))
    assert {oct(path.stat().st_mode)[-3:] for path in (tmp_path / "spool", tmp_path / "spool" / "damaged")} == {"700"}


@given(st.lists(st.sampled_from(["put", "take", "restart"]), max_size=30))
def test_nothing_is_lost_and_nothing_comes_twice_whatever_the_order(tmp_path_factory, steps):
    directory = tmp_path_factory.mktemp("spool")
    spool, put, taken = Spool(directory), 0, []
    for step in steps:
        match step:
            case "put":
                spool.put(b"%d" % put)
                put += 1
            case "take":
                for record in spool.oldest(1):
                    taken.append(int(record.data))
                    spool.remove(record.name)
            case "restart":
                spool = Spool(directory)
    taken += [int(record.data) for record in spool.oldest()]
    assert taken == list(range(put))
    assert len(list(directory.iterdir())) == len(spool.oldest())
