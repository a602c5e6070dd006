"""machine.py: what the numbers were measured on."""
import os
import platform
import re
import subprocess

PEER_PACKAGES = ["libjemalloc2", "libgoogle-perftools4", "heaptrack", "python3", "redis-tools", "jq", "sqlite3", "git",
                 "g++"]


def cpu_model():
    try:
        with open("/proc/cpuinfo") as file:
            found = re.search(r"^model name\s*:\s*(.*)", file.read(), re.M)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.machine()


def distribution():
    try:
        with open("/etc/os-release") as file:
            found = re.search(r'^PRETTY_NAME="?([^"\n]*)', file.read(), re.M)
    except OSError:
        found = None
    return found.group(1) if found else platform.system()


def versions():
    """Of the packages of Debian that are compared or run; nothing where there is no dpkg."""
    try:
        shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n"]
                               + PEER_PACKAGES, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    except OSError:
        return ""
    installed = [line.split()[:2] for line in shown.splitlines() if line.endswith(" installed")]
    return ", ".join(f"{name} {version}" for name, version in installed)


def load():
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def describe():
    """Two lines, as they stand above the tables and in the README."""
    cores = len(os.sched_getaffinity(0))
    first = (f"{cpu_model()}, {cores} core{'s' * (cores != 1)}; {distribution()}, Linux {platform.release().split('-')[0]}, "
             f"glibc {os.confstr('CS_GNU_LIBC_VERSION').split()[-1]}; load at the start {load()}")
    return [first] + [line for line in [versions()] if line]
