"""Runs the pipelines of docs/pipelines.md that use curl, as they stand there, against a registry on this machine: their shell step by step,
with the variables that GitHub and GitLab would set. curl signs as it would for AWS; only the AWS CLI is a stand-in, since there is no STS.

The argument is the local server's binary; the release build by default. Needs curl and jq.
"""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import yaml

from common import ROOT, Checks

PAGE = (ROOT / "docs" / "pipelines.md").read_text()
AWS = """#!/bin/sh
test -z "$STS_REFUSES" || { echo 'An error occurred (AccessDenied) when calling the AssumeRoleWithWebIdentity operation' >&2; exit 254; }
case "$*" in *--query*) printf 'AKIDEXAMPLE\\tsecret/key+1\\ttoken==\\n' ;; *) exit 2 ;; esac
"""
# Records the arguments of curl, and runs it.
CURL = """#!/bin/sh
printf '%s\\0' "$@" >> "$CURLS"; printf '\\n' >> "$CURLS"
exec {curl} "$@"
"""


def pipeline(title):
    """Returns the YAML after a line that begins with this title."""
    return yaml.safe_load(re.search(rf"^{title}[^\n]*\n\n```yaml\n(.*?)^```$", PAGE, re.M | re.S)[1])


@contextlib.contextmanager
def registry(folder):
    """Runs the local server; yields its URL."""
    binary = sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "release" / "portmasterd"
    with open(folder / "greeting", "w") as out, open(folder / "log", "w") as log:
        server = subprocess.Popen([binary, "--listen", "127.0.0.1:0", "--in-memory"], stdout=out, stderr=log)
    try:
        for _ in range(200):
            if found := re.search(r"^Portmaster listens on (\S+)", (folder / "greeting").read_text(), re.M):
                break
            if server.poll() is not None:
                sys.exit((folder / "log").read_text())
            time.sleep(0.05)
        yield found[1]
    finally:
        server.terminate()
        server.wait(20)


class Pipelines:
    """A registry, and a folder of programs that come first on PATH."""

    def __init__(self, url, folder):
        self.url, self.folder, self.curls = url, folder, folder / "curls"
        (folder / "bin").mkdir()
        curl = subprocess.run(["sh", "-c", "command -v curl"], capture_output=True, text=True, check=True).stdout.strip()
        for name, text in (("aws", AWS), ("curl", CURL.format(curl=curl))):
            program = folder / "bin" / name
            program.write_text(text)
            program.chmod(0o755)

    def run(self, shell, script, **variables):
        """Runs a step's shell; returns its exit code and its output."""
        self.curls.write_text("")
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "CURLS": str(self.curls),
            "AWS_REGION": "eu-west-1",
            "PORTMASTER": self.url,
            **variables,
        }
        return subprocess.run([*shell, script], env=environment, cwd=self.folder, capture_output=True, text=True)

    def call(self, method, path, body=None):
        """Calls the registry; returns status and answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"} if data else {}, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def ports(self):
        """Returns the name and the port of each allocation."""
        return {item["name"]: item["port"] for item in self.call("GET", "/v1/services/django/ports")[1]}


def github(pipelines, checks):
    """Runs two legs of a matrix, the same workflow pushed again, and a step whose call is refused."""
    check, workflow = checks.check, pipeline("GitHub Actions")
    [job] = workflow["jobs"].values()
    steps = job["steps"]
    check("GitHub: the action is the current one", steps[0]["uses"] == "aws-actions/configure-aws-credentials@v6", steps[0])
    check("GitHub: the workflow may ask for a token", workflow["permissions"]["id-token"] == "write", workflow["permissions"])
    take, give = steps[1], steps[-1]
    check("GitHub: a leg is told from the others", take["env"] == {"LEG": "${{ strategy.job-index }}"}, take["env"])
    check("GitHub: the port is given back whatever happened", give["if"].startswith("always()"), give)

    def step(step, run, leg):
        """Runs a step as GitHub does; the steps after it have the variables that it wrote into GITHUB_ENV."""
        place = pipelines.folder / f"{run}-{leg}"
        place.mkdir(exist_ok=True)
        written = place / "env"
        written.touch()
        kept = dict(line.split("=", 1) for line in written.read_text().splitlines())
        keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret/key+1", "AWS_SESSION_TOKEN": "token=="}
        set_by_github = {"GITHUB_RUN_ID": run, "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "test", "LEG": leg, "RUNNER_TEMP": str(place), "GITHUB_ENV": str(written)}
        return pipelines.run(["bash", "-e", "-c"], step["run"], **keys, **set_by_github, **kept), written

    for run in ("17000000001", "17000000002"):
        for leg in ("0", "1"):
            taken, written = step(take, run, leg)
            check(f"GitHub: leg {leg} of {run} takes a port", taken.returncode == 0, taken.stdout + taken.stderr)
            check("GitHub: its step is told which", re.search(r"^PORT=50\d\d$", written.read_text(), re.M), written.read_text())
    held = pipelines.ports()
    check("GitHub: two pushes of two legs have four ports", len(held) == len(set(held.values())) == 4, held)
    again, _ = step(take, "17000000001", "0")
    check("GitHub: a step that is run again has the same port", (again.returncode, pipelines.ports()) == (0, held), again.stdout + again.stderr)
    for run in ("17000000001", "17000000002"):
        for leg in ("0", "1"):
            given, _ = step(give, run, leg)
            check("GitHub: and gives it back", given.returncode == 0, given.stdout + given.stderr)
    check("GitHub: nothing is left", pipelines.ports() == {}, pipelines.ports())

    elsewhere = {**take, "run": take["run"].replace("/services/django/", "/services/nobody/")}
    refused, written = step(elsewhere, "17000000003", "0")
    check("GitHub: a refused call ends the step", refused.returncode != 0 and written.read_text() == "", refused.stdout)
    check("GitHub: and the log says why", "/problems/service-not-found" in refused.stderr, refused.stdout + refused.stderr)
    check("GitHub: signed, with the token", "x-amz-security-token: token==" in pipelines.curls.read_text(), pipelines.curls.read_text())


def gitlab(pipelines, checks):
    """Runs two jobs of a pipeline, including their after_script, and a job that STS refuses."""
    check, document = checks.check, pipeline("GitLab CI")
    [job] = [job for name, job in document.items() if not name.startswith(".")]
    join = lambda lines: "\n".join(lines)
    # GitLab's runner: one shell for before_script and script, another one for after_script.
    script, after = join(job["script"]), join(job["after_script"])
    shell = ["bash", "-eo", "pipefail", "-c"]
    set_by_gitlab = lambda job: {"CI_JOB_ID": job, "CI_PIPELINE_ID": "4711", "CI_COMMIT_REF_SLUG": "a-branch", "AWS_TOKEN": "jwt"}
    for number in ("1001", "1002"):
        taken = pipelines.run(shell, script, **set_by_gitlab(number))
        check(f"GitLab: job {number} takes a port", taken.returncode == 0, taken.stdout + taken.stderr)
        check("GitLab: signed, with the token", "x-amz-security-token: token==" in pipelines.curls.read_text(), pipelines.curls.read_text())
    held = pipelines.ports()
    check("GitLab: two jobs have two ports", len(held) == len(set(held.values())) == 2, held)
    for number in ("1001", "1002"):
        given = pipelines.run(shell, after, **set_by_gitlab(number))
        check("GitLab: and give them back", given.returncode == 0, given.stdout + given.stderr)
    check("GitLab: nothing is left", pipelines.ports() == {}, pipelines.ports())
    refused = pipelines.run(shell, script, **set_by_gitlab("1003"), STS_REFUSES="yes")
    check("GitLab: without credentials the job fails, and says why", refused.returncode != 0 and "AccessDenied" in refused.stderr, refused)
    check("GitLab: and calls nobody", pipelines.curls.read_text() == "", pipelines.curls.read_text())


def no_token(pipelines, checks):
    """Long-lived credentials have no session token: curl would sign an empty header, and not send it."""
    signed = [line for line in PAGE.splitlines() if "x-amz-security-token: $AWS_SESSION_TOKEN" in line]
    checks.check("every example leaves out an empty token", signed and all("${AWS_SESSION_TOKEN:+" in line for line in signed), signed)
    line = """curl -sS -o /dev/null ${AWS_SESSION_TOKEN:+-H "x-amz-security-token: $AWS_SESSION_TOKEN"} "$PORTMASTER/health" """
    for token, expected in (("", False), ("a b", True)):
        run = pipelines.run(["sh", "-ec"], line, AWS_SESSION_TOKEN=token)
        asked = pipelines.curls.read_text()
        checks.check(f"token {token!r}", run.returncode == 0 and ("x-amz-security-token: a b\0" in asked) == expected, asked)


def main():
    checks = Checks("pipelines")
    with tempfile.TemporaryDirectory() as folder, registry(pathlib.Path(folder)) as url:
        pipelines = Pipelines(url, pathlib.Path(folder))
        created = pipelines.call("POST", "/v1/services", {"name": "django", "start": 5000, "end": 5099})
        checks.check("a service to take ports from", created[0] == 201, created)
        github(pipelines, checks)
        gitlab(pipelines, checks)
        no_token(pipelines, checks)
    checks.finish()


main()
