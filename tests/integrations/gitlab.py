"""The GitLab component, run by gitlab-ci-local as an include with inputs: what a job finds, its identity token and role, several
ports, a parallel matrix, a retried job, a job that fails, one that outlives its lease; one that is killed, at every point; the command line fetched
as an archive with its checksum. And the examples of docs/pipelines.md, as they stand there.

Needs gitlab-ci-local, Node and rsync, and the debug build of `portmaster` and `portmasterd`.
"""

import contextlib
import functools
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
import uuid

import yaml

from ground import (
    MARK,
    MEET,
    PATIENCE,
    ROOT,
    Gate,
    Service,
    call,
    comes_back,
    command_of,
    kill_all,
    meet,
    on,
    play,
    processes,
    wait_for,
)
from standins import TARGET

COMPONENT = "https://gitlab.com/our-org/portmaster"


class Pipeline:
    """A project with this pipeline, and a run of it. The component's project is cloned from this working tree."""

    def __init__(self, text, with_command=True, run=True, **variables):
        self.mark, self.folder = uuid.uuid4().hex, pathlib.Path(tempfile.mkdtemp(prefix="integrations-"))
        component, self.project, programs = (self.folder / name for name in ("component.git", "project", "programs"))
        shutil.copytree(ROOT / "integrations" / "gitlab", component)
        self.project.mkdir()
        programs.mkdir()
        (self.project / ".gitlab-ci.yml").write_text(text)
        (self.folder / ".gitconfig").write_text(
            f'[user]\n  name = test\n  email = test@example.com\n[url "file://{component}"]\n  insteadOf = {COMPONENT}.git\n'
        )
        if with_command:
            (programs / "portmaster").symlink_to((TARGET / "portmaster").resolve())
        npm = programs / "npm"
        npm.write_text('#!/bin/sh\necho npm "$@" "PORT=$PORT HTTP=$PORT_HTTP GRPC=$PORT_GRPC"\n')
        npm.chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        self.environment = {"PATH": path, "HOME": str(self.folder), MARK: self.mark, **variables}
        git = lambda place, *line: subprocess.run(["git", "-C", place, *line], env=self.environment, check=True, capture_output=True)
        for place in (component, self.project):
            git(place, "init", "-q")
            git(place, "add", "-A")
            git(place, "commit", "-qm", "test")
        git(component, "tag", "0.1.0")
        git(self.project, "remote", "add", "origin", "https://gitlab.com/our-org/shop.git")
        self.log, self.process = self.folder / "log", None
        if run:
            self.start()

    def start(self, *line):
        """Starts a run; jobs by name, or all of them."""
        command = ["gitlab-ci-local", "--shell-isolation", "--no-artifacts-to-source", *line]
        given = [part for name, value in {MARK: self.mark}.items() for part in ("--variable", f"{name}={value}")]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [*command, *given], env=self.environment, cwd=self.project, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        kill_all(self.mark)
        if self.process:
            self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def text(self):
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text())

    def until(self, text):
        """Waits until something has been said."""
        wait_for(text, PATIENCE, lambda: text in self.text() or self.process.poll() is not None)
        assert text in self.text(), self.text()

    def end(self):
        """Waits for the end; returns the exit code and what was said."""
        try:
            return self.process.wait(PATIENCE), self.text()
        except subprocess.TimeoutExpired:
            return -1, self.text()


def pipeline(url, service, script, job="", **inputs):
    """Returns a pipeline with one job of the component."""
    given = {"url": url, "service": service, **{name.replace("_", "-"): value for name, value in inputs.items()}}
    lines = "".join(f"      {name}: {json.dumps(value)}\n" for name, value in given.items())
    steps = "".join(f"    - |\n" + "".join(f"      {line}\n" for line in step.strip("\n").split("\n")) for step in script)
    return (
        f"include:\n  - component: $CI_SERVER_FQDN/our-org/portmaster/portmaster@0.1.0\n    inputs:\n{lines}"
        f"test:\n  extends: .portmaster\n{job}  script:\n{steps}"
    )


SHOW = 'echo "mine=$PORT http=$PORT_HTTP grpc=$PORT_GRPC"'


def succeeds(checks, url):
    """One port, and what the job is to the registry."""
    service = Service(url, "success")
    with Pipeline(pipeline(url, service.name, [SHOW, f"curl -s {service.url}/ports"])) as run:
        code, log = run.end()
    checks.check("success: the pipeline is green", code == 0, log)
    checks.check("success: the job finds its port", f"mine={service.start} " in log, log)
    checks.check("success: the owner is the job", re.search(r'"owner":"gl/our-org/shop/\d+/test/0"', log), log)
    checks.check("success: nothing is left", service.ports() == {}, service.ports())


def fails(checks, url):
    """The script fails; and before_script does, because there is no port."""
    service = Service(url, "failure", size=2)
    with Pipeline(pipeline(url, service.name, [SHOW, "exit 3"])) as run:
        code, log = run.end()
    checks.check("failure: the pipeline is red", code != 0 and "mine=" in log, log)
    checks.check("failure: nothing is left", service.ports() == {}, service.ports())
    service.take("a"), service.take("b")
    with Pipeline(pipeline(url, service.name, [SHOW])) as run:
        code, log = run.end()
    checks.check("failure: without a port the script does not begin", code != 0 and "mine=" not in log, log)
    checks.check("failure: and the log says why", "Every port of the range is taken" in log, log)
    checks.check("failure: strangers keep theirs", set(service.ports()) == {"a", "b"}, service.ports())


def matrix(checks, url):
    """The jobs of a parallel matrix at the same time, with two ports each."""
    service = Service(url, "matrix", size=20)
    text = pipeline(url, service.name, [SHOW, MEET], "  parallel: {matrix: [{A: [x, y], B: ['1', '2']}]}\n", ports="http,grpc")
    with Pipeline(text) as run:
        meet(run, service, 8)
        code, log = run.end()
    found = re.findall(r"> mine=(\d+) http=(\d+) grpc=(\d+)", log)
    checks.check("matrix: the pipeline is green", code == 0, log)
    checks.check("matrix: four jobs have eight ports", len({port for one in found for port in one[1:]}) == 8, found)
    checks.check("matrix: the first is the port", found and all(one[0] == one[1] for one in found), found)
    checks.check("matrix: nothing is left", service.ports() == {}, service.ports())


def renewed(checks, url):
    """A job that takes longer than its lease, and is the same when it is retried."""
    service = Service(url, "renewed")
    wait = f"""
        first=$(curl -s {service.url}/ports | jq -r '.[0].expires_at' | date -f - +%s)
        until test "$(curl -s {service.url}/ports | jq -r '.[0].expires_at' | date -f - +%s)" -gt $((first + 6)); do sleep 0.3; done
    """
    ports = []
    service.take("before")
    with Pipeline(pipeline(url, service.name, [wait, SHOW], lease="6s")) as run:
        code, log = run.end()
        checks.check("renewed: the pipeline is green", code == 0, log)
        ports += re.findall(r"> mine=(\d+)", log)
        # From now on a lower port is free, which everybody else would get.
        call(f"{service.url}/ports/before?owner=stranger", "DELETE")
        checks.check("renewed: nothing is left", service.ports() == {}, service.ports())
        # A job that is run by itself belongs to the last pipeline, as a retried one does on GitLab.
        run.start("test")
        code, log = run.end()
        ports += re.findall(r"> mine=(\d+)", log)
    checks.check("renewed: a retried job has the same port", code == 0 and len(ports) == 2 and set(ports) == {str(service.start + 1)}, (ports, log))


def killed(checks, url):
    """Everything is killed with kill -9, or the job's shell alone."""
    service = Service(url, "killed")
    with Pipeline(pipeline(url, service.name, [SHOW, "sleep 600"], lease="6s")) as run:
        run.until("> mine=")
        kill_all(run.mark)
    [held] = service.ports().values()
    checks.check("killed: the port is anybody's when the lease is over", service.free_for_strangers(held["port"]))
    alone = Service(url, "killed-alone")
    with Pipeline(pipeline(url, alone.name, [SHOW, "sleep 600"], lease="10m")) as run:
        run.until("> mine=")
        [held] = alone.ports().values()
        shells = [process for process in processes(run.mark) if (parent := parent_of(process)) and any("PM_SHELL=" in line for line in environ(process))]
        [shell] = {line.split("=")[1] for process in shells for line in environ(process) if line.startswith("PM_SHELL=")}
        os.kill(int(shell), signal.SIGKILL)
        checks.check("the shell alone: the port is given back without it", wait_for("the port", PATIENCE, lambda: alone.ports() == {}))


def held_at(checks, url, name, method, is_before, script):
    """Kills everything while a request of the job is held, before it arrives or before its answer does; returns the service."""
    service = Service(url, name)
    with Gate(url) as gate:
        gate.rule = on(method, lambda forward: gate.hold(forward, is_before))
        with Pipeline(pipeline(gate.url, service.name, [script], lease="6s")) as run:
            wait_for(f"{name}: the request", PATIENCE, gate.held.is_set)
            kill_all(run.mark)
    return service


def kill_command(run):
    """Kills `portmaster run`, and nothing else of the job."""
    for process in processes(run.mark):
        if command_of(process).startswith("portmaster run "):
            os.kill(process, signal.SIGKILL)


def before_the_call(checks, url):
    service = held_at(checks, url, "before-the-call", "PUT", True, "sleep 600")
    checks.check("before the call: nothing is taken", service.ports() == {}, service.ports())


def before_the_answer(checks, url):
    comes_back(checks, "before the answer", held_at(checks, url, "before-the-answer", "PUT", False, "sleep 600"))


def in_the_clean_up(checks, url):
    comes_back(checks, "in the clean-up", held_at(checks, url, "in-the-clean-up", "DELETE", True, "true"))


def after_the_release(checks, url):
    service = held_at(checks, url, "after-the-release", "DELETE", False, "true")
    checks.check("after the release: the port is free at once", service.ports() == {}, service.ports())


def command_alone(checks, url):
    """The command dies before it has an answer, and the job goes on: after_script knows what may have been taken."""
    service = Service(url, "command-alone")
    with Gate(url) as gate:
        gate.rule = on("PUT", lambda forward: gate.hold(forward, is_before=False))
        with Pipeline(pipeline(gate.url, service.name, [SHOW], lease="10m")) as run:
            wait_for("the call", PATIENCE, gate.held.is_set)
            kill_command(run)
            code, log = run.end()
    checks.check("the command alone: the job is red, and its script does not begin", code != 0 and "mine=" not in log, log)
    checks.check("the command alone: after_script gives back what it never heard of", service.ports() == {}, (service.ports(), log))


def renewal_alone(checks, url):
    """The command dies while the job runs: nobody renews, and a stranger keeps what it gets."""
    service = Service(url, "renewal-alone")
    with Pipeline(pipeline(url, service.name, [SHOW, MEET], lease="6s")) as run:
        run.until("> mine=")
        kill_command(run)
        comes_back(checks, "the renewal alone", service)
        (run.folder / "go").touch()
        code, log = run.end()
    checks.check("the renewal alone: the job is green", code == 0, log)
    checks.check("the renewal alone: the stranger keeps the port", set(service.ports()) == {"stranger"}, service.ports())


def environ(process):
    """Returns a process's environment as lines."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace").split("\0")
    return []


def parent_of(process):
    with contextlib.suppress(OSError):
        return int(pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def away(checks, url):
    """The registry cannot be reached at the end."""
    service = Service(url, "away")
    with Gate(url) as gate, Pipeline(pipeline(gate.url, service.name, [SHOW, f"until ! curl -s -o /dev/null {gate.url}; do sleep 0.3; done"], lease="6s")) as run:
        run.until("> mine=")
        [held] = service.ports().values()
        gate.away()
        code, log = run.end()
    checks.check("away: the pipeline is green", code == 0, log)
    checks.check("away: the log says what becomes of the port", "the port comes back when its lease is over" in log, log)
    checks.check("away: it does", service.free_for_strangers(held["port"]))


def fetched(checks, url):
    """The command line comes as an archive of a release, and is the one of the checksum."""
    service = Service(url, "fetched")
    with tempfile.TemporaryDirectory() as folder:
        archive = pathlib.Path(folder) / "portmaster-0.1.0-x86_64-linux.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            tar.add((TARGET / "portmaster").resolve(), "portmaster-0.1.0-x86_64-linux/portmaster")
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as files:
            threading.Thread(target=files.serve_forever, daemon=True).start()
            place = f"http://127.0.0.1:{files.server_port}/{archive.name}"
            for sha, good in ((digest, True), ("0" * 64, False), ("", False)):
                text = pipeline(url, service.name, [SHOW], archive=place, archive_sha256=sha)
                with Pipeline(text, with_command=False) as run:
                    code, log = run.end()
                checks.check(f"fetched: with checksum {sha[:4]!r}", (code == 0 and "> mine=" in log) == good, log)
                if not good:
                    checks.check(f"fetched: the log says what is wrong with {sha[:4]!r}", "archive" in log and "mine=" not in log, log)
            files.shutdown()
    with Pipeline(pipeline(url, service.name, [SHOW]), with_command=False) as run:
        code, log = run.end()
    checks.check("fetched: without the command", code != 0 and "take an image that has it" in log, log)
    checks.check("fetched: nothing is left", service.ports() == {}, service.ports())


def strict(checks, url):
    """The scripts in the shells of small images, with the options that runners set."""
    service = Service(url, "strict", size=2)
    _, component = yaml.safe_load_all((ROOT / "integrations/gitlab/templates/portmaster.yml").read_text().replace("$[[ inputs.job ]]", "job"))
    job = component["job"]
    tokens = {"PORTMASTER_ID_TOKEN": {"aud": "$[[ inputs.audience ]]"}}
    checks.check("strict: the job has an identity token, where the command line looks for it", job["id_tokens"] == tokens, job["id_tokens"])
    values = {"url": url, "service": service.name, "env": "PORT", "lease": "5s", "wait": "0s", "namespace": "default", "contiguous": "false", "probe": "true"}
    put = lambda text: re.sub(r"\$\[\[ inputs\.([a-z0-9-]+) \]\]", lambda name: values.get(name[1], ""), text)
    variables = {name: put(value) for name, value in job["variables"].items()}
    [before], [after] = job["before_script"], job["after_script"]
    with tempfile.TemporaryDirectory() as folder:
        known = {"GITLAB_CI": "true", "CI_PROJECT_PATH": "our-org/shop", "CI_PIPELINE_ID": "7", "CI_JOB_NAME": "test", "CI_JOB_ID": "1001"}
        path = f"{TARGET}:{os.environ['PATH']}"
        environment = {"PATH": path, "HOME": folder, **known, **variables}
        # The script comes from standard input, as in a container.
        shell = lambda script: subprocess.run(["sh", "-e"], input=script, env=environment, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
        first = shell(f"{before}\n{SHOW}\n")
        checks.check("strict: sh finds the port", first.returncode == 0 and f"mine={service.start} " in first.stdout, first)
        checks.check("strict: nothing is left, without after_script", wait_for("the port", PATIENCE, lambda: service.ports() == {}))
        last = shell(after)
        checks.check("strict: after_script has nothing to do", last.returncode == 0 and last.stderr == "", last)
        service.take("a"), service.take("b")
        full = shell(f"{before}\n{SHOW}\n")
        checks.check("strict: a full range ends it", full.returncode == 1 and "Every port of the range is taken" in full.stderr, full)


def pages(checks, url):
    """The examples of docs/pipelines.md and of the component's own page, as they stand there, at this registry."""
    service = Service(url, "web")
    for page in ("docs/pipelines.md", "integrations/gitlab/README.md"):
        text = re.search(r"```yaml\n(include:.*?)^```$", (ROOT / page).read_text(), re.M | re.S)[1]
        here = re.sub(r"url: \S+", f"url: {url}", re.sub(r"\n *(role-arn|archive|archive-sha256): .*", "", text))
        checks.check(f"{page}: the example has a URL and a role", here != text and "role-arn: arn:aws:iam::" in text, text)
        with Pipeline(here) as run:
            code, log = run.end()
        checks.check(f"{page}: the pipeline is green", code == 0, log)
        ports = re.findall(r"npm .*PORT=(\d+)", log)
        checks.check(f"{page}: every line of every job has a port", len(ports) == log.count("> npm ") > 0, log)
        mine = range(service.start, service.start + 10)
        checks.check(f"{page}: of the service", all(int(port) in mine for port in ports), ports)
        checks.check(f"{page}: nothing is left", service.ports() == {}, service.ports())


TESTS = [succeeds, fails, matrix, renewed, killed, before_the_call, before_the_answer, command_alone, renewal_alone]
TESTS += [in_the_clean_up, after_the_release, away, fetched, strict, pages]
play("gitlab", TESTS)
