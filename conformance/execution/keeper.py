"""The keeper: a small process between parent and child that leaves nothing behind.

It runs alone (`python -I -S keeper.py <CONFIG`), imports nothing but the standard library, and never loads vendor code. It is the
subreaper of everything that the child spawns, grandchildren in sessions of their own included: they are orphaned to it, so
it finds and kills them when the child ends, when the parent says so, or when the parent dies (its end of the lifeline closes).

CONFIG is JSON: `argv`, `env`, `cwd`, `pass_fds`, `child_stdin`, `child_stdout`, `child_stderr`, `lifeline`, `status`,
`memory_kb` (resident limit of the child's whole tree, 0 for none). One JSON line goes to `status` when all is over.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time

MYPY = False
if MYPY:  # typing takes 5 ms to import, and a restart of a child waits for the keeper
    from typing import Any

PR_SET_CHILD_SUBREAPER = 36
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
POLL_MS = 100


def _prctl(option: int, value: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def descendants(root: int) -> list[int]:
    """Return the process ids below `root`, by walking `/proc/PID/task/*/children`."""
    found: list[int] = []
    queue = [root]
    while queue:
        pid = queue.pop()
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{pid}/task/{thread}/children", "rb") as stream:
                    children = [int(word) for word in stream.read().split()]
            except OSError:
                continue
            found += children
            queue += children
    return found


def resident_kb(pids: list[int]) -> int:
    """Return the summed resident memory of processes in kB, shared pages counted once per process."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as stream:
                total += int(stream.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)
        except (OSError, IndexError, ValueError):
            continue
    return total


def kill_all(limit_s: float = 20.0) -> int:
    """Kill everything below this process until nothing is left; return how many processes were reaped."""
    reaped = 0
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return reaped
        if pid:
            reaped += 1
        else:
            time.sleep(0.001)
    return reaped


def spawn(config: dict[str, Any]) -> int:
    """Start the child and return its process id. It gets default signals and only the descriptors it is meant to have."""
    pid = os.fork()  # safe here: this process has one thread and has loaded no driver
    if pid:
        return pid
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a child that kills its keeper does not outlive it
        os.dup2(config["child_stdin"], 0)
        os.dup2(config["child_stdout"], 1)
        os.dup2(config["child_stderr"], 2)
        for fd in config["pass_fds"]:
            os.set_inheritable(fd, True)
        for name in ("child_stdin", "child_stdout", "child_stderr", "lifeline", "status"):
            os.close(config[name])
        os.chdir(config["cwd"])
        os.execve(config["argv"][0], config["argv"], config["env"])
    except OSError as error:
        os.write(2, f"cannot start {config['argv'][0]}: {error}\n".encode())
    finally:
        os._exit(127)


def watch(child: int, lifeline: int, memory_kb: int) -> tuple[dict[str, Any], int]:
    """Wait until the child ends or has to; return what is known of its end, and the peak of the tree's memory in kB."""
    pidfd = os.pidfd_open(child)
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(lifeline, select.POLLIN | select.POLLHUP)
    peak = 0
    while True:
        ready = {fd for fd, _ in poller.poll(POLL_MS)}
        if memory_kb and not ready:
            used = resident_kb([child, *descendants(child)])
            peak = max(peak, used)
            if used > memory_kb:
                os.kill(child, signal.SIGKILL)
                return {"cause": "memory"}, peak
        if pidfd in ready:
            return {"cause": "ended"}, peak
        if lifeline in ready:
            os.kill(child, signal.SIGKILL)
            return {"cause": "told"}, peak


def main() -> None:
    """Run one child from start to the last of its descendants."""
    config = json.load(sys.stdin)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is the parent's to decide; it closes the lifeline
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    os.setsid()
    child = spawn(config)
    for name in ("child_stdin", "child_stdout", "child_stderr"):
        os.close(config[name])
    end, peak = watch(child, config["lifeline"], config["memory_kb"])
    _, status, usage = os.wait4(child, 0)
    end["reaped"] = kill_all()
    end["signal"] = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    end["exit_code"] = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    end["peak_rss_kb"] = max(peak, usage.ru_maxrss)
    try:
        os.write(config["status"], json.dumps(end).encode() + b"\n")
    except BrokenPipeError:
        pass  # the parent is gone; nobody is left to tell


if __name__ == "__main__":
    main()
