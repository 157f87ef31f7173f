"""Debian programs that play the other side, as child processes of the tests."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.e2e.daemon import tables

END_SECONDS = 10.0

_Found = TypeVar("_Found")


def require(command: str, package: str) -> str:
    """The path of a program.

    :param package: the Debian package that brings it.
    :raises SkipTest: it is not installed.
    """
    path = shutil.which(command) or shutil.which(command, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise SkipTest(f"{command} is not installed; on Debian: apt-get install {package}")
    return path


def calm(**changed: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a configuration, without 503 when the machine has other things to do.

    Some programs try again only after half a minute.
    """
    return tables(overload={"enabled": False}, **changed)


def eventually(
    look: Callable[[], _Found | None], what: str, seconds: float = 30.0, interval: float = 0.05
) -> _Found:
    """Call ``look`` until it gives something true, and give that.

    :raises AssertionError: it does not in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds:g} s: {what}")
        time.sleep(interval)
    return found


class Program:
    """A program that runs during a test; at its end it is stopped.

    :param case: the test.
    :param arguments: command and arguments.
    :param directory: where it runs, and where ``name.out`` takes what it prints.
    :param name: for messages.
    """

    def __init__(
        self, case: SynchronousTestCase, arguments: list[str], directory: Path, name: str
    ) -> None:
        self.name = name
        self._output = directory / f"{name}.out"
        with self._output.open("ab") as output:
            self._child = subprocess.Popen(
                arguments,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        case.addCleanup(self.stop)

    def output(self) -> str:
        """What it has printed."""
        return self._output.read_text(errors="replace")

    def ended(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._child.poll()

    def wait(self, seconds: float) -> int:
        """Wait for its end; the exit status.

        :raises AssertionError: it runs on.
        """
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} runs on: {self.output()[-4000:]}") from None

    def kill(self) -> None:
        """End it without warning (SIGKILL)."""
        self._child.kill()
        self._child.wait(END_SECONDS)

    def stop(self) -> None:
        """Stop it if it runs."""
        if self.ended() is not None:
            return
        self._child.terminate()
        try:
            self._child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
