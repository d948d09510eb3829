"""What the tests of the integrations stand on: a registry, a gate in front of it at which a request can be held, lost or answered
by somebody else, and workflows that act runs on this machine as GitHub's runner would.

Every process of a run carries a mark in its environment, and by that all of them are found and killed, wherever they belong.
"""

import atexit
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import urllib.error
import urllib.parse
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "deployment"))

import common  # noqa: E402
from common import wait_for  # noqa: E402
from standins import registry  # noqa: E402

# By how many seconds strangers wait longer than the holder of a lease was told, here.
MARGIN = 1
ACTION = "our-org/portmaster/integrations/github@v0.1.0"
# What act takes for that repository, and copies for each step: the action alone.
REPOSITORY = pathlib.Path(tempfile.mkdtemp(prefix="integrations-action-"))
shutil.copytree(ROOT / "integrations" / "github", REPOSITORY / "integrations" / "github")
atexit.register(shutil.rmtree, REPOSITORY, ignore_errors=True)
# How long anything may take, in seconds, on a machine that has much else to do.
PATIENCE = 120
MARK = "INTEGRATIONS_TEST"


class Checks(common.Checks):
    """Counts checks of several threads."""

    def __init__(self, name):
        super().__init__(name)
        self.lock = threading.Lock()

    def check(self, what, holds, saw=""):
        with self.lock:
            super().check(what, holds, saw)


def call(url, method="GET", body=None):
    """Calls a registry; returns the status and the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"} if data else {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


class Service:
    """One service of the registry, which one test has for itself."""

    lock = threading.Lock()
    next = 5000

    def __init__(self, registry, name, size=10, **more):
        with Service.lock:
            self.start, Service.next = Service.next, Service.next + size
        self.registry, self.name, self.url = registry, name, f"{registry}/v1/services/{name}"
        status, answer = call(self.url, "PUT", {"start": self.start, "end": self.start + size - 1, **more})
        assert status == 201, answer

    def ports(self):
        """Returns what is allocated: the ports by their names."""
        return {item["name"]: item for item in call(self.url + "/ports")[1]}

    def take(self, name, owner="stranger", **more):
        """Takes a port as somebody else; returns the status and the answer."""
        return call(f"{self.url}/ports/{name}", "PUT", {"owner": owner, "lease_seconds": 60, **more})

    def free_for_strangers(self, port):
        """Waits until a stranger gets this very port; returns whether that happened."""
        taken = lambda: self.take(f"stranger-{uuid.uuid4().hex}", port=port)[0] == 201
        return wait_for(f"port {port} of {self.name}", PATIENCE, taken)


def moment(text):
    """Returns the time of an answer."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def comes_back(checks, what, service):
    """Checks that the one port of a dead job is a stranger's when its lease and the margin are over, and not before."""
    [held] = service.ports().values()
    wait_for(f"{what}: the port", PATIENCE, lambda: service.take("stranger", port=held["port"])[0] == 201)
    # The lease may have been renewed between the look and the kill's taking effect, by one renewal at most.
    granted = moment(service.ports()["stranger"]["created"])
    ended = moment(held["expires_at"]) + timedelta(seconds=MARGIN)
    # Times that are told are in whole seconds, rounded up.
    checks.check(f"{what}: not before lease and margin are over", granted >= ended - timedelta(seconds=1), (held, str(granted)))


class Gate:
    """A proxy in front of the registry, which remembers what passes. `rule` may decide about a request: it gets method, path
    and headers, and returns None to let it pass, or a function that is called instead."""

    def __init__(self, registry, rule=None, check=None):
        self.rule, self.seen, self.held = rule or (lambda *_: None), [], threading.Event()
        self.open = threading.Event()
        gate, target = self, urllib.parse.urlsplit(registry)

        class Handler(BaseHTTPRequestHandler):
            def do(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = {"method": self.command, "path": self.path, "headers": headers, "body": body.decode(), "status": None}
                gate.seen.append(seen)
                if check:
                    check(seen)
                self.close_connection = True
                forward = lambda: self.forward(headers, body, seen)
                if instead := gate.rule(self.command, self.path, seen):
                    answer = instead(forward)
                else:
                    answer = forward()
                if answer is None:
                    with contextlib.suppress(OSError):
                        self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, more, text = answer
                with contextlib.suppress(OSError):
                    self.send_response_only(status)
                    for name, value in {**more, "content-length": str(len(text)), "connection": "close"}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(text)

            do_GET = do_PUT = do_POST = do_DELETE = do

            def forward(self, headers, body, seen):
                connection = http.client.HTTPConnection(target.hostname, target.port, timeout=30)
                connection.request(self.command, self.path, body or None, {**headers, "host": target.netloc})
                answer = connection.getresponse()
                text = answer.read()
                seen["status"] = answer.status
                kept = ("content-type", "date", "retry-after", "location")
                return answer.status, {name: value for name, value in answer.getheaders() if name.lower() in kept}, text

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.open.set()
        self.away()

    def away(self):
        """Nobody listens any more."""
        self.server.shutdown()
        self.server.server_close()

    def hold(self, forward, is_before):
        """Holds a request before it reaches the registry, or its answer afterwards, until the gate is opened; then drops it."""
        if not is_before:
            forward()
        self.held.set()
        self.open.wait(PATIENCE)

    def calls(self, method, part=""):
        """Returns what was sent with this method, and this in its path."""
        return [seen for seen in self.seen if seen["method"] == method and part in seen["path"]]


def on(method, instead):
    """A rule for requests of one method."""
    return lambda asked, _path, _seen: instead if asked == method else None


def processes(mark):
    """Returns the ids of the processes that carry a mark."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (path / "environ").read_bytes().split(b"\0"):
                state = (path / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append(int(path.name))
    return found


def command_of(process):
    """Returns a process's command line; an empty one if it is gone."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{process}/cmdline").read_bytes().decode().replace("\0", " ")
    return ""


def kill_all(mark):
    """Kills all processes that carry a mark, at one moment as far as that goes."""
    while found := processes(mark):
        for process in found:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)


class Run:
    """A workflow that act runs."""

    def __init__(self, workflows, run=1, attempt=1, environment=(), variables=(), jobs=8, programs=()):
        """Starts it. `workflows` is the text of one, or several by their file names, the first of which is run; `programs` are
        shell scripts, which come first on PATH."""
        self.mark = uuid.uuid4().hex
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="integrations-"))
        if isinstance(workflows, str):
            workflows = {"workflow.yml": workflows}
        for name, text in workflows.items():
            path = self.folder / "repository" / (name if "/" in name else f".github/workflows/{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, script in dict(programs).items():
            (self.folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (self.folder / name).chmod(0o755)
        self.environment = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            MARK: self.mark,
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        git = ["git", "-c", "user.email=test@example.com", "-c", "user.name=test", "-C", self.folder / "repository"]
        for line in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "test"]):
            subprocess.run([*git, *line], env=self.environment, check=True)
        given = {
            MARK: self.mark,
            "GITHUB_RUN_ID": run,
            "GITHUB_RUN_ATTEMPT": attempt,
            "GITHUB_REPOSITORY": "our-org/shop",
            **dict(environment),
        }
        command = ["act", "push", "--workflows", f".github/workflows/{next(iter(workflows))}"]
        command += ["--platform", "ubuntu-latest=-self-hosted", "--action-cache-path", str(self.folder / "cache")]
        command += ["--local-repository", f"{ACTION.replace('/integrations/github', '')}={REPOSITORY}", "--concurrent-jobs", str(jobs)]
        command += [part for name, value in given.items() for part in ("--env", f"{name}={value}")]
        command += [part for name, value in dict(variables).items() for part in ("--var", f"{name}={value}")]
        self.log = self.folder / "log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command,
                env=self.environment,
                cwd=self.folder / "repository",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        kill_all(self.mark)
        self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def text(self):
        """Returns what act has said."""
        return self.log.read_text()

    def until(self, text):
        """Waits until act has said something."""
        wait_for(text, PATIENCE, lambda: text in self.text() or self.process.poll() is not None)
        assert text in self.text(), self.text()

    def end(self):
        """Waits for the end; returns the exit code and what act has said."""
        try:
            return self.process.wait(PATIENCE), self.text()
        except subprocess.TimeoutExpired:
            return -1, self.text()

    def kill(self):
        """Kills everything that the run has started."""
        kill_all(self.mark)
        self.process.wait(20)


def workflow(steps, job=""):
    """Returns a workflow with one job of these steps, which are YAML at the margin."""
    lines = "\n".join(f"      {line}" if line else "" for line in steps.strip("\n").split("\n"))
    more = "".join(f"    {line}\n" for line in job.strip("\n").split("\n")) if job else ""
    return f"on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n{more}    steps:\n{lines}\n"


def take(url, service, **inputs):
    """Returns a step that takes a port."""
    identity = inputs.pop("id", "port")
    lines = [f"- uses: {ACTION}", f"  id: {identity}", "  with:", f"    url: {url}", f"    service: {service}"]
    return "\n".join(lines + [f"    {name.replace('_', '-')}: {json.dumps(value)}" for name, value in inputs.items()]) + "\n"


def run(script):
    """Returns a step that runs a shell."""
    return "- run: |\n" + "".join(f"    {line}\n" for line in script.strip("\n").split("\n"))


def until(condition):
    """Returns a line of shell that waits until something holds."""
    return f"until {condition}; do sleep 0.3; done"


# A line of shell that waits until all jobs of a test have got as far.
MEET = 'until test -e "$HOME/go"; do sleep 0.3; done'


def meet(started, service, count):
    """Waits until a service has so many ports, and lets the jobs of a run go on; returns the ports."""
    over = started.process.poll
    wait_for(f"{count} ports of {service.name}", PATIENCE, lambda: len(service.ports()) == count or over() is not None)
    held = service.ports()
    (started.folder / "go").touch()
    return held


def play(name, tests):
    """Runs the tests of a suite, or those that the arguments name, some at a time: most of them wait most of the time."""
    checks, wanted = Checks(name), set(sys.argv[1:])
    with registry("--margin", str(MARGIN)) as url, ThreadPoolExecutor(4) as pool:

        def attempt(test):
            try:
                test(checks, url)
            # What waits in vain exits.
            except BaseException:
                checks.check(f"{test.__name__} runs to its end", False, traceback.format_exc())

        list(pool.map(attempt, [test for test in tests if not wanted or test.__name__ in wanted]))
    checks.finish()
