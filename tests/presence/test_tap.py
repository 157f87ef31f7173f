"""The ``twistd presence`` command."""

from __future__ import annotations

import ast
import atexit
import contextlib
import io
import os
import pathlib
import re
import socket
import subprocess
import sys
import types
from typing import Any
from unittest import mock

from twisted.application import service
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from presence import fatal, tap
from presence.config import Config, ConfigError, Listen, default_listen
from presence.logs import LoggedService, LogSettings

ROOT = pathlib.Path(__file__).resolve().parents[2]


class CommandCase(SynchronousTestCase):
    """Runs the options as ``twistd`` does."""

    def setUp(self) -> None:
        """Make a state directory and a configuration file."""
        self.folder = pathlib.Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.file = self.folder / "presence.toml"
        self.write('[[listen]]\ntransport = "udp"\nport = 0\n')

    def write(self, text: str) -> None:
        """Fill the configuration file."""
        self.file.write_text(f'state_dir = "state"\n{text}')

    def parse(self, *arguments: str) -> tuple[tap.Options, str, str]:
        """Parse a command line; the options, and what was printed and complained."""
        options = tap.Options()
        out, err = io.StringIO(), io.StringIO()
        self.exit: Any = None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                options.parseOptions(arguments)
            except SystemExit as leaving:
                self.exit = leaving.code
        return options, out.getvalue(), err.getvalue()


class CheckConfigTests(CommandCase):
    """``twistd presence check-config``."""

    def test_service_template(self) -> None:
        """A form of service URIs that cannot be one is found before anything starts (XDM-56)."""
        self.file.write_text('[xcap]\nservice_template = "no uri <id>"\n')
        self.parse("check-config", "-c", str(self.file))
        self.assertIn("xcap.service_template", str(self.exit))

    def test_good(self) -> None:
        """A summary, and status 0."""
        _, out, err = self.parse("check-config", "-c", str(self.file))
        self.assertEqual(self.exit, 0)
        self.assertIn(f"{self.file}: ok", out)
        self.assertIn("udp 127.0.0.1:0", out)
        self.assertEqual(err, "")
        self.assertFalse((self.folder / "state").exists(), "it has to change nothing")

    def test_built_in(self) -> None:
        """Without a file the built-in configuration is described."""
        _, out, _ = self.parse("check-config", "--state-dir", str(self.folder))
        self.assertEqual(self.exit, 0)
        self.assertIn("built-in configuration: ok", out)
        self.assertIn(f"{self.folder}/presence.sqlite", out)

    def test_bad(self) -> None:
        """The one message, as exit text: the interpreter prints it and leaves with status 1."""
        self.write("lisen = 1\n")
        _, out, _ = self.parse("check-config", "-c", str(self.file))
        self.assertIn(f"presence: {self.file}, line 2: lisen: ", self.exit)
        self.assertEqual(out, "")

    def test_warnings(self) -> None:
        """Warnings go to standard error."""
        self.write('[store]\ntype = "memory"\n')
        _, out, err = self.parse("check-config", "-c", str(self.file))
        self.assertEqual(self.exit, 0)
        self.assertTrue(err.startswith("warning: store"))
        self.assertIn("memory", out)

    def test_no_command(self) -> None:
        """``twistd presence`` alone tells what to say."""
        error = self.assertRaises(usage.UsageError, tap.Options().parseOptions, [])
        self.assertIn("start or check-config", str(error))


class StartTests(CommandCase):
    """``twistd presence start`` up to the point where the service takes over."""

    def setUp(self) -> None:
        """Put a service in place of the server."""
        super().setUp()
        stub = types.ModuleType("presence.service")
        self.made: list[tuple[Config, Any]] = []

        def make_service(config: Config, reread: Any) -> service.Service:
            self.made.append((config, reread))
            return service.Service()

        stub.make_service = make_service  # type: ignore[attr-defined]
        modules = mock.patch.dict(sys.modules, {"presence.service": stub})
        modules.start()
        self.addCleanup(modules.stop)

    def start(self, *more: str) -> service.IService:
        """The service that ``start -c FILE`` makes."""
        options, _, _ = self.parse("start", "-c", str(self.file), *more)
        self.assertIsNone(self.exit)
        return tap.makeService(options)

    def test_service(self) -> None:
        """The service is built from the configuration; the state directory is made."""
        self.start()
        ((config, _),) = self.made
        self.assertEqual(config.listen[0].bind_port, 0)
        self.assertEqual(config.state_path, self.folder / "state")
        self.assertTrue(config.state_path.is_dir())

    def test_reread(self) -> None:
        """A reload reads the file anew, with the same state directory."""
        self.start("--state-dir", str(self.folder / "other"))
        ((_, reread),) = self.made
        self.write("[subscription]\nnotify_interval = 0\n")
        self.assertEqual(reread().subscription.notify_interval, 0.0)
        self.assertEqual(reread().state_path, self.folder / "other")
        self.write("bad = 1\n")
        self.assertRaises(ConfigError, reread)

    def refused(self) -> str:
        """The message that a failing start leaves with."""
        return str(self.assertRaises(SystemExit, self.start).code)

    def test_port_in_use(self) -> None:
        """A port in use: one message that names listening point and remedy."""
        for transport, kind in (("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)):
            with socket.socket(socket.AF_INET, kind) as taken:
                taken.bind(("127.0.0.1", 0))
                if transport == "tcp":
                    taken.listen()
                port = taken.getsockname()[1]
                self.write(f'[[listen]]\ntransport = "{transport}"\nport = {port}\n')
                message = self.refused()
            self.assertIn(
                f"[[listen]] {transport} 127.0.0.1:{port}: port {port} is in use", message
            )
            self.assertNotIn("\n", message)
        self.assertEqual(self.made, [])

    def test_foreign_address(self) -> None:
        """An address that this machine does not have (RFC 5737)."""
        self.write('[[listen]]\ntransport = "udp"\naddress = "192.0.2.1"\n')
        self.assertIn("does not have the address", self.refused())

    def test_state_directory(self) -> None:
        """A state directory that cannot be one."""
        (self.folder / "state").write_text("a file")
        self.assertIn(f"state directory {self.folder}/state", self.refused())

    def test_metrics_port(self) -> None:
        """The port of the metrics is tried as well."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.file.write_text(
                f'state_dir = "state"\n[[listen]]\ntransport = "udp"\nport = 0\n'
                f"[metrics]\nenabled = true\nport = {port}\n"
            )
            self.assertIn("[metrics]: port", self.refused())

    def test_same_port_on_all_addresses(self) -> None:
        """0.0.0.0 and :: are two addresses: both can have one port."""
        if not any(":" in point.address for point in default_listen()):
            raise SkipTest("no IPv6 on this machine")
        with socket.socket() as probe:
            probe.bind(("0.0.0.0", 0))
            port = probe.getsockname()[1]
        tap.check_ports(Config(listen=tuple(Listen("tcp", a, port) for a in ("0.0.0.0", "::"))))


class LogTests(SynchronousTestCase):
    """The level of the log."""

    def test_level(self) -> None:
        """Events below the level are dropped; it can be changed while running."""
        file = pathlib.Path(self.mktemp())
        settings = LogSettings({"logfile": str(file), "nodaemon": True}, "warn")
        log = Logger("test", observer=LogPublisher(settings.observer()))
        self.addCleanup(settings.stream.close)
        log.info("first")
        log.error("second")
        settings.set_level("debug")
        log.emit(LogLevel.debug, "third")
        self.assertEqual(re.findall(r"first|second|third", file.read_text()), ["second", "third"])

    def test_application(self) -> None:
        """The application takes the observer from the service."""
        options = {"logfile": self.mktemp(), "nodaemon": False}
        application: Any = service.Application("presence")
        settings = LogSettings(options, "info")
        LoggedService(settings).setServiceParent(application)
        self.addCleanup(settings.stream.close)
        self.assertTrue(ILogObserver.providedBy(application.getComponent(ILogObserver)))


class FatalTests(SynchronousTestCase):
    """:func:`presence.fatal.exit_with`."""

    def test_stops(self) -> None:
        """It says why, on the real standard error, and stops the reactor."""
        stopped: list[str] = []

        class Reactor:
            def callWhenRunning(self, function: Any) -> None:
                function()

            def stop(self) -> None:
                stopped.append("stop")

        registered: list[Any] = []
        self.patch(atexit, "register", lambda *a: registered.append(a))
        err = io.StringIO()
        self.patch(sys, "__stderr__", err)
        fatal.exit_with("the store is gone", Reactor(), 3)
        self.assertEqual(stopped, ["stop"])
        self.assertEqual(err.getvalue(), "presence: the store is gone\n")
        self.assertEqual(registered, [(fatal._leave, 3)])

    def test_status(self) -> None:
        """A process that ends so has the status."""
        code = (
            "from twisted.internet import reactor\nfrom presence.fatal import exit_with\n"
            "exit_with('gone', reactor, 3)\nreactor.run()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        self.assertEqual((done.returncode, done.stderr.splitlines()[-1]), (3, "presence: gone"))


class PluginTests(SynchronousTestCase):
    """What ``twistd`` finds."""

    def test_found(self) -> None:
        """The plugin is listed once, under its name."""
        names = [plugin.tapname for plugin in getPlugins(service.IServiceMaker)]
        self.assertEqual(names.count("presence"), 1)

    def test_light(self) -> None:
        """Listing plugins imports nothing of the server: strings only."""
        tree = ast.parse((ROOT / "twisted" / "plugins" / "presence_plugin.py").read_text())
        modules = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        self.assertEqual(modules, ["twisted.application.service"])
        self.assertFalse((ROOT / "twisted" / "__init__.py").exists())
        self.assertFalse((ROOT / "twisted" / "plugins" / "__init__.py").exists())

    def test_no_reactor_at_import(self) -> None:
        """No module of ours names a reactor at its top level."""
        for file in [*ROOT.glob("pysip/**/*.py"), *ROOT.glob("presence/**/*.py")]:
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                    self.assertNotIn("reactor", [alias.name for alias in node.names], str(file))

    def test_twistd(self) -> None:
        """The real program finds the command from a checkout, checks, and says what is wrong."""
        file = pathlib.Path(self.mktemp()).absolute()
        file.write_text("domains = 1\n")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        twistd = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"
        command = [sys.executable, "-c", twistd, "presence", "check-config"]
        good = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        self.assertEqual((good.returncode, good.stderr), (0, ""))
        bad = subprocess.run(
            [*command, "-c", str(file)], env=environment, capture_output=True, text=True, timeout=60
        )
        self.assertEqual(bad.returncode, 1)
        self.assertEqual(bad.stderr.count("\n"), 1, bad.stderr)
        self.assertIn("domains: found 1, expected a list", bad.stderr)
        self.assertNotIn("Traceback", bad.stderr)
