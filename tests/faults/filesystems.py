"""File systems that can be filled, or that the kernel makes read-only, mounted for real. They need root."""

from __future__ import annotations

import errno
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FILLER = "filler"
CHUNK = 64 * 1024
IMAGE_MIB = 1024
UNMOUNTED_WITHIN_S = 15.0


class CannotMount(Exception):
    """This machine, or this user, cannot mount such a file system; says why."""


@contextmanager
def small_disk(at: Path, mib: int) -> Iterator[None]:
    """A file system in memory of that size. Raises CannotMount."""
    at.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(at))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(at))


def fill(directory: Path) -> Path:
    """Write until nothing more fits; returns the file whose deletion frees it all."""
    filler = directory / FILLER
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * CHUNK)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return filler


@dataclass(frozen=True)
class BreakableDisk:
    """An ext4 file system in an image, which behaves as a real one does after an error of its disk."""

    image: Path
    at: Path

    def break_(self) -> None:
        """Let the kernel meet an error: it makes the file system read-only, also for what is open."""
        device = _run("findmnt", "--noheadings", "--output", "SOURCE", str(self.at)).stdout.strip()
        assert device.startswith("/dev/loop"), f"{device} is not the image of a test"
        (Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error").write_text("test")

    def repair(self) -> None:
        """What an operator does: unmount, check, mount again. Nothing may be open."""
        deadline_s = time.monotonic() + UNMOUNTED_WITHIN_S
        while (done := _run("umount", str(self.at))).returncode != 0:
            assert time.monotonic() < deadline_s, done.stderr
            time.sleep(0.2)
        checked = _run("e2fsck", "-f", "-y", str(self.image))
        assert checked.returncode in (0, 1), checked.stdout  # 1: errors were corrected
        self.mount()

    def mount(self) -> None:
        _mount("-o", "loop,errors=remount-ro", str(self.image), str(self.at))


@contextmanager
def breakable_disk(image: Path, at: Path) -> Iterator[BreakableDisk]:
    """Raises CannotMount, also on a kernel that cannot be asked for an error."""
    at.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(IMAGE_MIB * 1024 * 1024)
    if (made := _run("mkfs.ext4", "-q", "-F", str(image))).returncode != 0:
        raise CannotMount(f"mkfs.ext4: {made.stderr.strip()}")
    disk = BreakableDisk(image, at)
    disk.mount()
    try:
        if not list(Path("/sys/fs/ext4").glob("loop*/trigger_fs_error")):
            raise CannotMount("the kernel has no /sys/fs/ext4/…/trigger_fs_error")
        yield disk
    finally:
        _run("umount", "--lazy", str(at))
        image.unlink()


def _mount(*arguments: str) -> None:
    if (done := _run("mount", *arguments)).returncode != 0:
        raise CannotMount(f"mount: {done.stderr.strip()}")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError as error:
        raise CannotMount(f"{command[0]} is not installed") from error
