#!/usr/bin/env python3
"""Speed as ratios in one run, against what users would pick instead. Called by `make bench`.

Prints a table with the mark of each case and writes the same as JSON. A case whose parts are absent is skipped with a line.
Parts come from the environment as for the tests: DOCKER_HOST, TESTBED_REGISTRY, TESTBED_BASE_IMAGE, TESTBED_BASE_ROOTFS.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

SLIPWAY = os.environ["SLIPWAY"]
WORK = Path(os.environ.get("BENCH_DIR", "target/bench")).absolute()
REGISTRY = os.environ.get("TESTBED_REGISTRY")
BASE_IMAGE = os.environ.get("TESTBED_BASE_IMAGE")
BASE_ROOTFS = os.environ.get("TESTBED_BASE_ROOTFS")
RUN = str(int(time.time()))
results = []


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    wanted = sys.argv[1:]
    for case in (no_op, one_file_commit, shell_stages, publish_big_layer, hooks):
        if wanted and case.__name__ not in wanted:
            continue
        print(f"-- {case.__name__}: {case.__doc__}", file=sys.stderr)
        try:
            case()
        except Skipped as reason:
            print(f"skipped: {case.__name__}: {reason}")
        finally:
            shutil.rmtree(WORK / case.__name__, ignore_errors=True)
    Path("target/bench.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"{'case':<22} {'what':<44} {'value':>12} {'mark':>12}")
    for row in results:
        print(f"{row['case']:<22} {row['what']:<44} {row['value']:>12} {row['mark']:>12} {'' if row['met'] else 'NOT MET'}")


class Skipped(Exception):
    pass


def need(value, what):
    if not value:
        raise Skipped(f"{what} is absent")
    return value


def record(case, what, value, unit, mark, met):
    text = f"{value:.1f} {unit}" if isinstance(value, float) else f"{value} {unit}"
    results.append({"case": case, "what": what, "number": value, "unit": unit, "value": text, "mark": mark, "met": bool(met)})


def run(*command, cwd=None, env=None, ok=True):
    """Runs a command quietly; gives (seconds, peak memory in MB)."""
    log = WORK / "command.log"
    with open(log, "wb") as out:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
    if ok and process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {process.returncode}\n{log.read_text(errors='replace')[-3000:]}")
    return seconds, usage.ru_maxrss / 1024


def best(times, action):
    return min(action()[0] for _ in range(times))


class Host:
    """slipway with a state directory of its own."""

    def __init__(self, directory, runtime):
        self.env = {
            "SLIPWAY_STATE_DIR": str(directory / f"state-{runtime}"),
            "SLIPWAY_RUNTIME": runtime,
            "WERF_STAGES_STORAGE": ":local",
            "WERF_TAG_BY_STAGES_SIGNATURE": "1",
        }

    def __call__(self, *arguments, cwd=None, env=None):
        return run(SLIPWAY, *arguments, cwd=cwd, env={**self.env, **(env or {})})


def repository(directory, files):
    """A git repository of small text files, a thousand to a directory."""
    directory.mkdir(parents=True)
    for number in range(files):
        path = directory / f"d{number // 1000:03}" / f"f{number:06}.txt"
        if number % 1000 == 0:
            path.parent.mkdir(exist_ok=True)
        path.write_text(f"file {number}\n" + "some text that compresses like text does\n" * 20)
    git(directory, "init", "-q", "-b", "main")
    commit(directory)
    return directory


def git(directory, *arguments):
    run("git", "-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "gc.auto=0", *arguments, cwd=directory)


def commit(directory):
    git(directory, "add", "-A")
    git(directory, "commit", "-qm", "bench")


def no_op():
    """build-and-publish of 20 images over a repository of 100 000 files, all published"""
    registry, rootfs = need(REGISTRY, "a registry"), need(BASE_ROOTFS, "a base root file system")
    directory = WORK / "no_op"
    host = Host(directory, "embedded")
    project = repository(directory / "project", 100_000)
    images = ", ".join(f"app{number:02}" for number in range(20))
    (project / "werf.yaml").write_text(
        f"project: noop{RUN}\nconfigVersion: 1\n---\nimage: [{images}]\nfrom: bench/base:1\n"
        "git:\n- add: /d000\n  to: /app\n  stageDependencies:\n    install: ['**/f00000*.txt']\n"
        "shell:\n  install: ['true']\n  setup: ['true']\n"
    )
    commit(project)
    host("image", "import", "bench/base:1", rootfs)
    publish = ("build-and-publish", "-i", f"{registry}/bench{RUN}/noop")
    host(*publish, cwd=project)
    runs = [host(*publish, cwd=project) for _ in range(7)]
    seconds, memory = min(run[0] for run in runs), max(run[1] for run in runs)
    record("no_op", "time", seconds * 1000, "ms", "150 ms", seconds <= 0.150)
    record("no_op", "peak memory", memory, "MB", "60 MB", memory <= 60)
    children = started_processes(host, publish, project)
    if children is not None:
        record("no_op", "processes and containers started", children, "", "0", children == 0)


def started_processes(host, command, project):
    """How many programs the command starts, by strace; None without it."""
    if not shutil.which("strace"):
        return None
    trace = WORK / "trace"
    run("strace", "-f", "-qq", "-e", "trace=execve,vfork", "-o", trace, SLIPWAY, *command, cwd=project, env=host.env)
    return sum(" execve(" in line for line in trace.read_text().splitlines()) - 1


def one_file_commit():
    """one-file commit in a repository of 10 000 files, git stages only, base in the registry"""
    registry, base = need(REGISTRY, "a registry"), need(BASE_IMAGE, "a base image")
    docker = need(shutil.which("docker") and os.environ.get("DOCKER_HOST"), "a Docker Engine")
    directory = WORK / "one_file_commit"
    host = Host(directory, "embedded")
    project = repository(directory / "project", 10_000)
    (project / "werf.yaml").write_text(
        f"project: commit{RUN}\nconfigVersion: 1\n---\nimage: app\nfrom: {base}\ngit:\n- add: /\n  to: /app\n"
    )
    (project / "Dockerfile").write_text(f"FROM {base}\nCOPY . /app\n")
    (project / ".dockerignore").write_text(".git\n")
    commit(project)
    publish = ("build-and-publish", "-i", f"{registry}/bench{RUN}/commit")
    image = f"{registry}/bench{RUN}/docker:latest"

    def ours():
        return host(*publish, cwd=project)

    def theirs():
        built, _ = run("docker", "build", "-q", "-t", image, ".", cwd=project)
        pushed, _ = run("docker", "push", "-q", image)
        return built + pushed, 0

    ours(), theirs()
    layers = [name for name in (directory / "state-embedded").rglob("*") if name.is_file() and name.stat().st_size > 20_000_000]
    record("one_file_commit", "base layers pulled", len(layers), "", "0", not layers)
    mine, others = [], []
    for number in range(5):
        (project / "d003" / "f003003.txt").write_text(f"change {number}\n")
        commit(project)
        mine.append(ours()[0])
        others.append(theirs()[0])
    ratio = min(others) / min(mine)
    record("one_file_commit", "slipway", min(mine) * 1000, "ms", "", True)
    record("one_file_commit", "docker build + push / slipway", ratio, "x", ">= 10 x", ratio >= 10)


def shell_stages():
    """four shell stages of trivial commands on the 240 MB base, cold stages, base present"""
    base, rootfs = need(BASE_IMAGE, "a base image"), need(BASE_ROOTFS, "a base root file system")
    need(shutil.which("docker") and os.environ.get("DOCKER_HOST"), "a Docker Engine")
    directory = WORK / "shell_stages"
    project = repository(directory / "project", 1)

    def cold(host, base):
        def action():
            salt = time.time_ns()
            (project / "werf.yaml").write_text(
                f"project: shell{RUN}\nconfigVersion: 1\n---\nimage: app\nfrom: {base}\nfromCacheVersion: '{salt}'\nshell:\n"
                "  beforeInstall: ['echo 1 > /1']\n  install: ['echo 2 > /2']\n  beforeSetup: ['echo 3 > /3']\n  setup: ['echo 4 > /4']\n"
            )
            return host("build", cwd=project)

        return action

    embedded, docker = Host(directory, "embedded"), Host(directory, "docker")
    embedded("image", "import", "bench/base:1", rootfs)
    run("docker", "pull", "-q", base)
    (project / "Dockerfile").write_text(f"FROM {base}\nRUN echo 1 > /1\nRUN echo 2 > /2\nRUN echo 3 > /3\nRUN echo 4 > /4\n")
    cold(embedded, "bench/base:1")(), cold(docker, base)()
    ours = best(5, cold(embedded, "bench/base:1"))
    on_docker = best(3, cold(docker, base))
    dockerfile = best(3, lambda: run("docker", "build", "-q", "--no-cache", ".", cwd=project))
    record("shell_stages", "embedded", ours * 1000, "ms", "", True)
    record("shell_stages", "docker runtime / embedded", on_docker / ours, "x", ">= 3 x", on_docker / ours >= 3)
    record("shell_stages", "docker build / embedded", dockerfile / ours, "x", ">= 3 x", dockerfile / ours >= 3)


def publish_big_layer():
    """publish of a 1 GB layer to a loopback registry"""
    registry, rootfs, base = need(REGISTRY, "a registry"), need(BASE_ROOTFS, "a base root file system"), need(BASE_IMAGE, "a base image")
    need(shutil.which("docker") and os.environ.get("DOCKER_HOST"), "a Docker Engine")
    directory = WORK / "publish_big_layer"
    host = Host(directory, "embedded")
    project = repository(directory / "project", 1)
    make = "for i in 1 2 3 4 5; do cp -r /usr /big-$i; done"
    (project / "werf.yaml").write_text(
        f"project: big{RUN}\nconfigVersion: 1\n---\nimage: app\nfrom: bench/base:1\nshell:\n  install: ['{make}']\n"
    )
    (project / "Dockerfile").write_text(f"FROM {base}\nRUN {make}\n")
    host("image", "import", "bench/base:1", rootfs)
    host("build", cwd=project)
    image = f"{registry}/bench{RUN}/docker-big:latest"
    run("docker", "build", "-q", "-t", image, ".", cwd=project)
    before = machine()
    seconds, memory = host("publish", "-i", f"{registry}/bench{RUN}/big", cwd=project)
    busy, idle = (now - then for now, then in zip(machine(), before))
    cores = busy / (busy + idle)
    theirs, _ = run("docker", "push", "-q", image)
    record("publish_big_layer", "peak memory", memory, "MB", "150 MB", memory <= 150)
    record("publish_big_layer", "cores of the machine busy", cores * 100, "%", ">= 90 %", cores >= 0.9)
    record("publish_big_layer", "docker push / slipway publish", theirs / seconds, "x", ">= 5 x", theirs / seconds >= 5)
    run("docker", "rmi", "-f", image)


def machine():
    """Busy and idle time of all cores so far, in ticks; the registry's share of the work counts."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, idle


def hooks():
    """all sub-stage hooks of an empty job, beyond the scripts' own time"""
    directory = WORK / "hooks"
    builds, job_tmp = directory / "builds", directory / "tmp"
    job_tmp.mkdir(parents=True)
    response = {
        "id": 1, "token": "t", "job_info": {"project_id": 1, "project_full_path": "group/empty", "name": "empty"},
        "git_info": {"repo_url": "https://example.com/group/empty.git", "ref": "main", "sha": "0" * 40},
        "runner_info": {"timeout": 600}, "variables": [], "steps": [],
    }
    (job_tmp / "response.json").write_text(json.dumps(response))
    script = job_tmp / "script"
    script.write_text("#!/usr/bin/env bash\nexit 0\n")
    script.chmod(0o700)
    env = {
        "TMPDIR": str(job_tmp), "JOB_RESPONSE_FILE": str(job_tmp / "response.json"), "BUILD_FAILURE_EXIT_CODE": "1",
        "SYSTEM_FAILURE_EXIT_CODE": "2", "BUILD_EXIT_CODE_FILE": str(job_tmp / "code"), "SLIPWAY_STATE_DIR": str(directory / "state"),
    }
    stages = ["prepare_script", "get_sources", "restore_cache", "download_artifacts", "build_script", "after_script",
              "archive_cache", "upload_artifacts_on_success", "cleanup_file_variables"]

    def job():
        total = run(SLIPWAY, "executor", "config", env=env)[0]
        total += run(SLIPWAY, "executor", "prepare", env=env)[0]
        total += sum(run(SLIPWAY, "executor", "run", str(script), stage, env=env)[0] for stage in stages)
        return total + run(SLIPWAY, "executor", "cleanup", env=env)[0], 0

    job()
    scripts = len(stages) * best(9, lambda: run("bash", str(script), env=env))
    beyond = best(7, job) - scripts
    record("hooks", "hooks summed, beyond the scripts", beyond * 1000, "ms", "100 ms", beyond <= 0.100)


if __name__ == "__main__":
    main()
