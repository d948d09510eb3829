"""The GitHub Action, run by act in whole workflows against a real registry: what it hands to a job, in a matrix, in a reusable
workflow that is called twice, in a run that is run again; what it says when there is no port; that its lease is renewed for as
long as the job runs; and that nothing is left when the job is over, whatever became of it and of the registry.

Needs act and Node on PATH, and the debug build of `portmasterd`.
"""

import json
import re
import signal
import time

from ground import ACTION, MEET, ROOT, Gate, Run, Service, call, meet, play, run, take, until, workflow
from standins import server

URL = "${{ vars.URL }}"


def succeeds(checks, url):
    """A step of the job, and the same for several ports, and all that later steps find."""
    check, service = checks.check, Service(url, "success")
    steps = take(URL, "success", name="one") + take(URL, "success", id="more", ports="http, grpc-web", contiguous=True, env="WEB")
    steps += run("""
        echo "found=$PORT,$WEB,$WEB_HTTP,$WEB_GRPC_WEB"
        echo "port=${{ steps.port.outputs.port }} name=${{ steps.port.outputs.name }} until=${{ steps.port.outputs.expires-at }}"
        echo "http=${{ fromJSON(steps.more.outputs.ports).http }} more=${{ steps.more.outputs.port }} ports=${{ steps.port.outputs.ports }}"
        curl -s $URL/ports
    """)
    with Gate(url) as gate, Run(workflow(steps, f"env: {{URL: {service.url}}}"), run=17, variables={"URL": gate.url}) as job:
        code, log = job.end()
    first = service.start
    http = int((re.search(r"found=\d+,(\d+)", log) or [0, 0])[1])
    check("success: the job is green", code == 0, log)
    check("success: the variables", f"found={first},{http},{http},{http + 1}" in log, log)
    check("success: the outputs", re.search(rf"port={first} name=one until=20\d\d-\d\d-\d\dT", log), log)
    check("success: the outputs of several", f"| http={http} more={http} ports={{port:{first}}}" in log, log)
    held = re.search(r"\| (\[\{.*\}\])$", log, re.M)
    ports = json.loads(held[1]) if held else []
    check("success: three ports were held", len(ports) == 3, log)
    owners = {port["owner"] for port in ports}
    check("success: by two owners, one for each step", len(owners) == 2, owners)
    check("success: which name the job", all(re.fullmatch(r"gh/our-org/shop/17/test/0/1-[0-9a-f]{16}", one) for one in owners), owners)
    labels = {"run": "17", "job": "test", "index": "0", "attempt": "1", "repository": "our-org/shop", "ci": "github"}
    check("success: the labels", ports and ports[0]["labels"] == labels, ports)
    check("success: a name of the job's", ports and ports[1]["name"] == "our-org-shop-17-test-0-more-http", ports)
    check("success: a line of the summary", re.search(rf"Summary - Portmaster: port \*\*{first}\*\* \(`one`\) of `success`", log), log)
    check("success: nothing is left", service.ports() == {}, service.ports())
    writes = [(seen["method"], seen["status"]) for seen in gate.seen]
    check("success: one call each to take", writes[:2] == [("PUT", 201), ("POST", 201)], writes)


def fails(checks, url):
    """A later step fails."""
    service = Service(url, "failure")
    with Run(workflow(take(url, "failure") + run("exit 3"))) as job:
        code, log = job.end()
    checks.check("failure: the job is red", code != 0 and "exit status 3" in log, log)
    checks.check("failure: nothing is left", "gave back the port" in log and service.ports() == {}, log)


def matrix(checks, url):
    """Eight jobs of a matrix at the same time, which are told nothing."""
    service = Service(url, "matrix")
    steps = take(url, "matrix") + run(f'echo "leg=$PORT"\n{MEET}')
    with Run(workflow(steps, "strategy: {max-parallel: 8, matrix: {a: [1, 2, 3, 4], b: [x, y]}}")) as job:
        held = meet(job, service, 8)
        code, log = job.end()
    ports = re.findall(r"\| leg=(\d+)", log)
    checks.check("matrix: all are green", code == 0, log)
    checks.check("matrix: eight ports for eight jobs", len(ports) == len(set(ports)) == 8, ports)
    checks.check("matrix: under names that tell them apart", len(held) == 8 and all(name.endswith("-port") for name in held), held)
    checks.check("matrix: nothing is left", service.ports() == {}, service.ports())


def twins(checks, url):
    """Two calls of one reusable workflow, and two steps of one composite action: nothing that a runner says tells them apart."""
    service = Service(url, "twins")
    called = workflow("- uses: actions/checkout@v6\n- uses: ./twice\n  id: both\n" + run(f"""
        echo "twin=${{{{ steps.both.outputs.a }}}} twin=${{{{ steps.both.outputs.b }}}}"
        {MEET}
    """)).replace("on: push", "on: workflow_call")
    composite = "name: twice\ndescription: two ports\noutputs:\n  a: {description: a, value: '${{ steps.a.outputs.port }}'}\n"
    composite += "  b: {description: b, value: '${{ steps.b.outputs.port }}'}\nruns:\n  using: composite\n  steps:\n"
    composite += "".join("    " + line + "\n" for step in "ab" for line in take(url, "twins", id=step).splitlines())
    caller = "on: push\njobs:\n  first: {uses: ./.github/workflows/called.yml}\n  second: {uses: ./.github/workflows/called.yml}\n"
    with Run({"caller.yml": caller, "called.yml": called, "twice/action.yml": composite}) as job:
        meet(job, service, 4)
        code, log = job.end()
    ports = [port for pair in re.findall(r"\| twin=(\d+) twin=(\d+)", log) for port in pair]
    checks.check("twins: all are green", code == 0, log)
    checks.check("twins: four ports", len(ports) == len(set(ports)) == 4, log)
    checks.check("twins: nothing is left", service.ports() == {}, service.ports())


def again(checks, url):
    """The same run again, after an attempt that ended and after one that was killed with all that it had; and another run."""
    check, service = checks.check, Service(url, "again")
    text = workflow(take(url, "again") + run('echo "mine=$PORT"'))
    port = lambda log: re.search(r"mine=(\d+)", log)[1]
    waits = workflow(take(url, "again") + run('echo "mine=$PORT"') + run("sleep 300"))
    service.take("before")
    with Run(text, run=1, attempt=1) as job:
        _, first = job.end()
    # From now on a lower one is free, which everybody else would get.
    call(f"{service.url}/ports/before?owner=stranger", "DELETE")
    check("again: the first attempt did not have the lowest port", port(first) == str(service.start + 1), first)
    with Run(text, run=1, attempt=2) as job:
        _, second = job.end()
    check("again: a second attempt has the same port", port(second) == port(first), (first, second))
    with Run(waits, run=1, attempt=3) as job:
        job.until("| mine=")
        killed = job.text()
        job.kill()
    left = list(service.ports().values())
    check("again: an attempt that was killed leaves its port", len(left) == 1 and "/3-" in left[0]["owner"], left)
    with Run(text, run=2, attempt=1) as job:
        _, other = job.end()
    check("again: another run does not get it", port(other) != port(killed), other)
    with Run(text, run=1, attempt=4) as job:
        code, fourth = job.end()
    check("again: the next attempt does, at once", code == 0 and port(fourth) == port(killed), fourth)
    check("again: and says so", "giving back what an earlier attempt of this job has left" in fourth, fourth)
    check("again: nothing is left", service.ports() == {}, service.ports())


def renewed(checks, url):
    """A job that takes longer than its lease."""
    service = Service(url, "renewed")
    # The job goes on until the lease that it began with is over, by the registry's own times.
    steps = take(url, "renewed", name="long", lease="6s") + run(f"""
        first=$(date -d '${{{{ steps.port.outputs.expires-at }}}}' +%s)
        until test "$(curl -s {service.url}/ports/long | jq -r .expires_at | date -f - +%s)" -gt $((first + 6)); do sleep 0.1; done
        curl -s {service.url}/ports/long
    """)
    with Gate(url) as gate, Run(workflow(steps).replace(f"url: {url}", f"url: {gate.url}")) as job:
        code, log = job.end()
        renewals = gate.calls("POST", "/renew")
    checks.check("renewed: the job is green", code == 0 and '"name":"long"' in log, log)
    checks.check("renewed: more than once", len(renewals) >= 2 and all(one["status"] == 200 for one in renewals[:-1]), renewals)
    checks.check("renewed: no warning", "::warning" not in log, log)
    checks.check("renewed: nothing is left", service.ports() == {}, service.ports())


def lost(checks, url):
    """An operator takes the port away, and gives it to somebody else."""
    service = Service(url, "lost", size=2)
    steps = take(url, "lost", name="mine", lease="2s") + run(f"""
        curl -s -X DELETE '{service.url}/ports/mine?owner=*'
        curl -s -X PUT --json '{{"owner": "stranger", "lease_seconds": 600}}' {service.url}/ports/mine
        {until('test -s "$(echo $RUNNER_TEMP/portmaster-*/lost)"')}
    """)
    with Run(workflow(steps)) as job:
        code, log = job.end()
    checks.check("lost: the job is green", code == 0, log)
    checks.check("lost: a warning says why", re.search(r"::warning.*A lease was lost while the job ran: mine: .*the owner stranger", log), log)
    held = service.ports()
    checks.check("lost: the stranger keeps the port", set(held) == {"mine"} and held["mine"]["owner"] == "stranger", held)


def away(checks, url):
    """The registry cannot be reached when the job ends."""
    service = Service(url, "away")
    with Gate(url) as gate:
        steps = take(gate.url, "away", name="mine", lease="6s") + run(f'echo "mine=$PORT"\n{until("! curl -s -o /dev/null " + gate.url)}')
        with Run(workflow(steps)) as job:
            job.until("| mine=")
            port = service.ports()["mine"]["port"]
            gate.away()
            code, log = job.end()
    checks.check("away: the job is green", code == 0, log)
    checks.check("away: a warning", re.search(r"::warning.*could not be given back, and comes back when its lease is over.*ECONNREFUSED", log), log)
    checks.check("away: then the lease ends it", service.free_for_strangers(port), service.ports())


def silent(checks, url):
    """The registry takes the release, and never answers: post does not wait for all that a call may take, which is 30 seconds."""
    service = Service(url, "silent")
    with Gate(url) as gate:
        gate.rule = lambda method, *_: (lambda forward: gate.hold(forward, is_before=True)) if method == "DELETE" else None
        with Run(workflow(take(gate.url, service.name, name="mine") + run("true"))) as job:
            code, log = job.end()
    checks.check("silent: the job is green", code == 0, log)
    checks.check("silent: a warning", re.search(r"::warning.*The port of mine \(silent\) could not be given back", log), log)
    took = re.search(r"Success - Post our-org/portmaster\S* \[([\d.]+)s\]", log)
    checks.check("silent: after five seconds", took and 4 < float(took[1]) < 20, log)


def refused(checks, url):
    """There is no port: the error says why, and what to do."""
    check, service = checks.check, Service(url, "full", size=2)
    service.take("a-job"), service.take("another-job")
    cases = {
        "full": (take(url, "full"), r"Every port of the range is taken: All 2 ports of full.*The input wait"),
        "a stranger": (take(url, "full", name="a-job"), r"The name has a port already: a-job has port \d+ of full.*the owner stranger.*Without the input name"),
        "no service": (take(url, "nothing"), r"There is no such service: There is no service nothing"),
        "no namespace": (take(url, "full", namespace="nowhere"), r"no namespace nowhere"),
        "no registry": (take("http://127.0.0.1:9", "full"), r"http://127.0.0.1:9 cannot be reached: connect ECONNREFUSED"),
        "no URL": (take("ports.example.com", "full", lease="1y"), r"url is not one of HTTP.*lease is not a duration from 1s to 30d"),
        "no credentials": (take("https://abc.execute-api.eu-west-1.amazonaws.com", "full"), r"no AWS credentials.*role-to-assume"),
        "no token": (take("https://abc.execute-api.eu-west-1.amazonaws.com", "full", role_to_assume="arn:aws:iam::1:role/r"), r"id-token: write"),
        "in the clear": (take("http://ports.example.com", "full", aws_region="eu-west-1"), r"requests to plain http on another machine are not signed"),
    }  # fmt: skip
    text = "on: push\njobs:\n" + "".join(
        workflow(step).split("jobs:\n")[1].replace("  test:", f"  {name.replace(' ', '-').lower()}:") for name, (step, _) in cases.items()
    )
    with Run(text) as job:
        code, log = job.end()
    check("refused: the run is red", code != 0, log)
    for name, (_, expected) in cases.items():
        own = "\n".join(line for line in log.splitlines() if line.startswith(f"[workflow.yml/{name.replace(' ', '-').lower()}"))
        check(f"refused: {name}", re.search(rf"::error title=Portmaster::No port\. .*{expected}", own), own)
        check(f"refused: {name} fails the step", "Failure - Main our-org/portmaster" in own, own)
        # Where nobody answered, nobody knows.
        expected = r"If there is a port of \S+ \(full\), it could not be given back" if name == "no registry" else None
        check(f"refused: {name} has nothing to give back", re.search(expected, own) if expected else "::warning" not in own, own)
    check("refused: strangers keep theirs", set(service.ports()) == {"a-job", "another-job"}, service.ports())


def waits(checks, url):
    """All ports are taken, and the step waits until one comes back."""
    service = Service(url, "waits", size=2)
    service.take("a-job"), service.take("another-job")
    with Run(workflow(take(url, "waits", wait="2m") + run('echo "mine=$PORT"'))) as job:
        job.until("waiting for a port, for 120 seconds at most")
        call(f"{service.url}/ports/a-job?owner=stranger", "DELETE")
        code, log = job.end()
    checks.check("waits: the job is green", code == 0 and f"mine={service.start}" in log, log)
    checks.check("waits: nothing of it is left", set(service.ports()) == {"another-job"}, service.ports())


def waits_for_a_name(checks, url):
    """A name that a stranger has is waited for as well."""
    service = Service(url, "waits-for-a-name")
    service.take("mine")
    with Run(workflow(take(url, service.name, name="mine", wait="2m") + run('echo "mine=$PORT"'))) as job:
        job.until("waiting for a port, for 120 seconds at most: The name has a port already")
        call(f"{service.url}/ports/mine?owner=stranger", "DELETE")
        code, log = job.end()
    checks.check("waits for a name: the job is green", code == 0 and f"mine={service.start}" in log, log)


def troubled(checks, url):
    """Answers that pass: too many requests, an outage, an answer that is lost after the port was taken."""
    service = Service(url, "troubled")
    plain = {"content-type": "application/json"}
    script = [
        lambda _: (429, {**plain, "retry-after": "0"}, b'{"message":"Too Many Requests"}'),
        lambda _: (503, {**plain, "retry-after": "1"}, b'{"message":"Service Unavailable"}'),
        lambda forward: (forward(), None)[1],
    ]
    times = []

    def rule(method, _path, _seen):
        times.append(time.monotonic())
        return script.pop(0) if script and method in ("PUT", "DELETE") else None

    with Gate(url, rule) as gate, Run(workflow(take(gate.url, "troubled", name="mine") + run('echo "mine=$PORT"'))) as job:
        code, log = job.end()
    statuses = [seen["status"] for seen in gate.calls("PUT")]
    checks.check("troubled: the job is green", code == 0 and f"mine={service.start}" in log, log)
    checks.check("troubled: the last call finds what the one before has taken", statuses == [None, None, 201, 200], statuses)
    checks.check("troubled: Retry-After is waited for", times[2] - times[1] >= 1, times)
    checks.check("troubled: nothing is left", service.ports() == {}, service.ports())


def hostile(checks, url):
    """What stands at the registry's address wants to become a part of the job."""
    bad = "x\n::set-output name=evil::1\nPATH=/evil\r\n::warning::evil ##[set-output name=evil;]1 %0A::error::evil"
    time_ = "2026-11-30T10:00:00Z"
    answers = {
        "port": {"name": "n", "port": f"5000\n{bad}", "created": time_, "expires_at": time_},
        "name": {"name": bad, "port": 5000, "created": time_, "expires_at": time_ + bad},
        "problem": {"type": "/problems/name-taken", "title": bad, "detail": bad, "instance": bad, "owner": bad},
        "message": {"message": bad},
        "huge": {"name": "x" * (2 << 20)},
    }
    for what, answer in answers.items():
        status = 409 if what == "problem" else 400 if what == "message" else 201
        with server(lambda *_: (status, json.dumps(answer))) as evil:
            with Run(workflow(take(evil, "any") + run("true"))) as job:
                code, log = job.end()
        lines = [line for line in log.splitlines() if "evil" in line and not line.startswith("[workflow.yml/test]   ❗  ::error title=Portmaster::")]
        checks.check(f"hostile {what}: the step fails", code != 0 and "Failure - Main" in log, log)
        checks.check(f"hostile {what}: nothing of it becomes a line", not [line for line in lines if "set-output" in line or "::warning" in line], log)
        checks.check(f"hostile {what}: no output and no variable", "⚙  ::set-output:: evil" not in log and "⚙  ::set-env:: PATH" not in log, log)


def cancelled(checks, url):
    """The run is cancelled while the job runs. act, as GitHub's runner does, runs post all the same."""
    service = Service(url, "cancelled")
    with Run(workflow(take(url, "cancelled", name="mine") + run("sleep 300"))) as job:
        job.until("Run Main sleep")
        port = service.ports()["mine"]["port"]
        job.process.send_signal(signal.SIGINT)
        code, log = job.end()
    checks.check("cancelled: the run is over", code != 0, log)
    checks.check("cancelled: post gives the port back", "gave back the port of mine" in log and service.ports() == {}, log)
    checks.check("cancelled: and anybody can have it", service.free_for_strangers(port), log)


def pages(checks, url):
    """The examples of docs/pipelines.md and of the action's own page, as they stand there, at this registry."""
    service = Service(url, "web")
    version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    expected = {"docs/pipelines.md": [["test", "--port", "P", "--grpc", "P"]] * 2, "integrations/github/README.md": [["test", "--port", "P"]]}
    for page, commands in expected.items():
        text = next(block for block in re.findall(r"```yaml\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S) if ACTION in block)
        checks.check(f"{page}: the action has this version", f"/integrations/github@v{version}\n" in text, text)
        checks.check(f"{page}: the job may ask for its token", "id-token: write" in text and "role-to-assume: arn:aws:iam::" in text, text)
        here = re.sub(r"url: \S+", f"url: {url}", re.sub(r"\n *role-to-assume: \S+", "", text))
        with Run(here, programs={"npm": "echo npm \"$@\""}) as job:
            code, log = job.end()
        checks.check(f"{page}: the run is green", code == 0, log)
        ran = [line.split()[1:] for line in re.findall(r"\| (npm [^|\n]*)$", log, re.M)]
        ports = [word for line in ran for word in line if word.isdigit()]
        shape = [["P" if word.isdigit() else word for word in line if word != "--"] for line in ran]
        checks.check(f"{page}: what it runs has its ports", shape == commands and len(set(ports)) == len(ports), ran)
        mine = range(service.start, service.start + 10)
        checks.check(f"{page}: of the service", ports and all(int(port) in mine for port in ports), ports)
        checks.check(f"{page}: nothing is left", service.ports() == {}, service.ports())


TESTS = [succeeds, fails, matrix, twins, again, renewed, lost, away, silent, refused, waits, waits_for_a_name, troubled, hostile, cancelled, pages]


play("github", TESTS)
