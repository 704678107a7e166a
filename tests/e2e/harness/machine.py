"""A machine within this one, for what must be installed and run by a real init: this root file system
with a layer of memory above it, in name spaces of its own, systemd as its process 1. Needs root."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from harness.process import Process, program, wait_until

# Runs as root in new name spaces. $1: a folder to mount on, $2: where the machine finds its files.
BOOT = r"""
set -eu
base=$1 files=$2
mount --make-rprivate /
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$base/root"
cd "$base/root"
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir tmp/files run/lock
mount --bind "$files" tmp/files
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
    : >dev/$node
    mount --bind /dev/$node dev/$node
done
mkdir dev/pts dev/shm dev/mqueue dev/hugepages
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
rm -f etc/resolv.conf usr/sbin/policy-rc.d
printf '[Unit]\nDescription=Nothing but what a test asks for\nAllowIsolate=yes\n' >etc/systemd/system/bare.target
ip link set lo up
pivot_root . mnt
exec env -i container=utun-test PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c '
    umount -l /mnt
    mount --make-rshared /
    exec /lib/systemd/systemd --unit=bare.target --show-status=no'
"""

SPACES = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net"]


class Machine:
    """Folder `files` is there as /tmp/files. Nothing else that is done inside is seen outside."""

    def __init__(self, folder: Path, files: Path) -> None:
        self.folder = folder
        self.files = files
        self.base = folder / "machine"
        self.base.mkdir()
        self.group = self.make_group()
        self.init = 0

    @staticmethod
    def make_group() -> Path:
        """Its processes' cgroup, so that what systemd makes below it can be removed."""
        for line in Path("/proc/mounts").read_text().splitlines():
            where, kind = line.split()[1:3]
            if kind == "cgroup2":
                group = Path(where) / f"utun-test-{os.getpid()}"
                group.mkdir()
                return group
        raise RuntimeError("this system has no cgroup2 mounted: systemd needs one")

    def __enter__(self) -> Machine:
        script = f'echo $$ >"{self.group}/cgroup.procs"; exec "$@"'
        argv = ["sh", "-c", script, "sh", program("unshare"), *SPACES, "--fork", "bash", "-c", BOOT, "boot"]
        self.process = Process("machine", [*argv, self.base, self.files], self.folder)
        try:
            wait_until(self.find_init, 20, "the machine's systemd")
            wait_until(lambda: self.run("systemctl is-system-running", None).stdout.strip() == "running", 30,
                       "the machine to have started")
        except BaseException:
            self.__exit__()
            raise
        return self

    def find_init(self) -> bool:
        if not self.process.is_running():
            raise RuntimeError(f"the machine did not start: {self.process.text()}")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd":
            self.init = int(children[0])
        return self.init != 0

    def run(self, script: str, status: int | None = 0, seconds: float = 60) -> subprocess.CompletedProcess:
        """A shell script inside; another exit status than `status` raises."""
        argv = [program("nsenter"), "-t", str(self.init), "-m", "-p", "-u", "-i", "-n", "-C", "-r"]
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [*argv, "bash", "-euc", f"cd /\n{script}"], capture_output=True, text=True, timeout=seconds, env=env
        )
        if status is not None and done.returncode != status:
            raise RuntimeError(f"{script!r} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def __exit__(self, *_: object) -> None:
        if self.init:
            os.kill(self.init, signal.SIGKILL)
        self.process.stop(signal.SIGKILL)
        groups = sorted(self.group.rglob("*"), key=lambda path: -len(path.parts))
        for group in [path for path in groups if path.is_dir()] + [self.group]:
            wait_until(lambda path=group: self.has_gone(path), 10, f"{group} to be empty")

    @staticmethod
    def has_gone(group: Path) -> bool:
        try:
            group.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True
