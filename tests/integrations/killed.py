"""The GitHub Action's job is killed with `kill -9`, at every point: before its call arrives, before the answer does, while the job
runs, while it gives the port back; all of it, or the step, the runner or the renewing process alone. Whatever is killed, the port
is anybody's at the latest when the lease and the registry's margin are over, and not before; and what a stranger has by then stays
the stranger's, however late a call of the dead arrives.

Needs act and Node on PATH, and the debug build of `portmasterd`.
"""

import os
import signal
import threading

from ground import PATIENCE, Gate, Run, Service, comes_back, command_of, on, play, processes, run, take, wait_for, workflow

LEASE = "6s"
WAITS = run('echo "mine=$PORT"') + run("sleep 600")


def running(job, script):
    """Returns the ids of the job's processes that run a script of the action."""
    return [process for process in processes(job.mark) if f"src/{script}" in command_of(process)]


def before_the_call(checks, url):
    service = Service(url, "before-the-call")
    with Gate(url) as gate:
        gate.rule = on("PUT", lambda forward: gate.hold(forward, is_before=True))
        with Run(workflow(take(gate.url, service.name, lease=LEASE) + WAITS)) as job:
            wait_for("the call", PATIENCE, gate.held.is_set)
            job.kill()
    checks.check("before the call: nothing is taken", service.ports() == {}, service.ports())


def late_call(checks, url):
    """The call arrives when its sender is dead."""
    service = Service(url, "late-call")
    dead = threading.Event()
    late = lambda forward: (gate.held.set(), dead.wait(PATIENCE), forward(), gate.open.set(), None)[-1]
    with Gate(url) as gate:
        gate.rule = on("PUT", late)
        with Run(workflow(take(gate.url, service.name, lease=LEASE) + WAITS)) as job:
            wait_for("the call", PATIENCE, gate.held.is_set)
            job.kill()
            dead.set()
            gate.open.wait(PATIENCE)
    comes_back(checks, "a late call", service)


def before_the_answer(checks, url):
    service = Service(url, "before-the-answer")
    with Gate(url) as gate:
        gate.rule = on("PUT", lambda forward: gate.hold(forward, is_before=False))
        with Run(workflow(take(gate.url, service.name, lease=LEASE) + WAITS)) as job:
            wait_for("the call", PATIENCE, gate.held.is_set)
            job.kill()
    comes_back(checks, "before the answer", service)


def step_alone(checks, url):
    """The step dies before it has an answer, and the runner goes on: post knows what may have been taken."""
    service = Service(url, "step-alone")
    with Gate(url) as gate:
        gate.rule = on("PUT", lambda forward: gate.hold(forward, is_before=False))
        with Run(workflow(take(gate.url, service.name, lease="10m") + WAITS)) as job:
            wait_for("the call", PATIENCE, gate.held.is_set)
            for process in running(job, "main.js"):
                os.kill(process, signal.SIGKILL)
            code, log = job.end()
    checks.check("the step alone: the job is red", code != 0, log)
    checks.check("the step alone: post gives back what it never heard of", "gave back the port" in log and service.ports() == {}, log)


def while_it_runs(checks, url):
    service = Service(url, "while-it-runs")
    with Run(workflow(take(url, service.name, lease=LEASE) + WAITS)) as job:
        job.until("| mine=")
        job.kill()
    comes_back(checks, "while it runs", service)


def runner_alone(checks, url):
    """The runner dies, and nobody tells the process that renews."""
    service = Service(url, "runner-alone")
    with Run(workflow(take(url, service.name, lease=LEASE) + WAITS)) as job:
        job.until("| mine=")
        checks.check("the runner alone: the lease is being renewed", len(running(job, "renew.js")) == 1, processes(job.mark))
        job.process.kill()
        job.process.wait(PATIENCE)
        gone = wait_for("the renewing process to end", PATIENCE, lambda: not running(job, "renew.js"))
        checks.check("the runner alone: the process that renews ends", gone)
        comes_back(checks, "the runner alone", service)


def renewal_alone(checks, url):
    """The process that renews dies, and the job goes on."""
    service = Service(url, "renewal-alone")
    steps = take(url, service.name, lease=LEASE) + run('echo "mine=$PORT"') + run(f'until test -e "$RUNNER_TEMP/go"; do sleep 0.3; done')
    with Run(workflow(steps)) as job:
        job.until("| mine=")
        for process in running(job, "renew.js"):
            os.kill(process, signal.SIGKILL)
        comes_back(checks, "the renewal alone", service)
        [temporary] = job.folder.glob("cache/*/tmp")
        (temporary / "go").touch()
        code, log = job.end()
    checks.check("the renewal alone: the job is green", code == 0, log)
    checks.check("the renewal alone: post says so", "::warning" in log and "was not this job's any more when the job ended" in log, log)
    checks.check("the renewal alone: the stranger keeps the port", set(service.ports()) == {"stranger"}, service.ports())


def in_post(checks, url):
    service = Service(url, "in-post")
    with Gate(url) as gate:
        gate.rule = on("DELETE", lambda forward: gate.hold(forward, is_before=True))
        with Run(workflow(take(gate.url, service.name, lease=LEASE) + run("true"))) as job:
            wait_for("the release", PATIENCE, gate.held.is_set)
            job.kill()
    comes_back(checks, "in post", service)


def after_post(checks, url):
    """The release has arrived, and nobody hears of it."""
    service = Service(url, "after-post")
    with Gate(url) as gate:
        gate.rule = on("DELETE", lambda forward: gate.hold(forward, is_before=False))
        with Run(workflow(take(gate.url, service.name, lease="10m") + run("true"))) as job:
            wait_for("the release", PATIENCE, gate.held.is_set)
            job.kill()
    checks.check("after post: the port is free at once", service.ports() == {}, service.ports())


def late_release(checks, url):
    """The release arrives when a stranger has the name and the port: post waits for its answer until it gives up."""
    service, forwarded = Service(url, "late-release", size=2), []
    stranger = threading.Event()
    late = lambda forward: (gate.held.set(), stranger.wait(PATIENCE), forwarded.append(forward()[0]), None)[-1]
    with Gate(url) as gate:
        gate.rule = on("DELETE", late)
        with Run(workflow(take(gate.url, service.name, name="mine", lease=LEASE) + run("true"))) as job:
            wait_for("the release", PATIENCE, gate.held.is_set)
            job.kill()
            wait_for("the name", PATIENCE, lambda: service.take("mine")[0] == 201)
            stranger.set()
            wait_for("the late release", PATIENCE, lambda: forwarded)
    held = service.ports()
    checks.check("a late release: it is refused", forwarded[0] == 409, forwarded)
    checks.check("a late release: the stranger keeps the port", held["mine"]["owner"] == "stranger", held)


def late_renewal(checks, url):
    """A renewal arrives after the release, and takes nothing back."""
    service, forwarded = Service(url, "late-renewal", size=2), []
    released = threading.Event()
    late = lambda forward: (gate.held.set(), released.wait(PATIENCE), forwarded.append(forward()[0]), None)[-1]
    with Gate(url) as gate:
        gate.rule = on("POST", late)
        with Run(workflow(take(gate.url, service.name, name="mine", lease=LEASE) + run('until test -e "$RUNNER_TEMP/go"; do sleep 0.3; done'))) as job:
            wait_for("a renewal", PATIENCE, gate.held.is_set)
            [temporary] = job.folder.glob("cache/*/tmp")
            (temporary / "go").touch()
            code, log = job.end()
        checks.check("a late renewal: the job is green", code == 0 and "gave back the port of mine" in log, log)
        service.take("mine")
        released.set()
        wait_for("the late renewal", PATIENCE, lambda: forwarded)
    checks.check("a late renewal: it is refused", forwarded[0] == 409, forwarded)
    checks.check("a late renewal: the stranger keeps the port", service.ports()["mine"]["owner"] == "stranger", service.ports())


TESTS = [before_the_call, late_call, before_the_answer, step_alone, while_it_runs, runner_alone, renewal_alone, in_post, after_post]
TESTS += [late_release, late_renewal]


play("killed", TESTS)
