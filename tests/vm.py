"""A small virtual machine with a real Linux kernel and the v4l2loopback module, for the camera: no /dev/video here.

The guest sees this computer's files, read-only, and runs one Python program with the interpreter that runs the tests.
Emulated in software, so it is slow and needs no rights. Made from Debian's packages; what is missing skips the test.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INSTALL = (
    "apt install qemu-system-x86 busybox-static cpio kmod gcc make linux-headers-amd64 v4l-utils ffmpeg, and unpack "
    "linux-image and v4l2loopback-dkms"
)
NEEDED = ("v4l2loopback", "9pnet_virtio", "9p", "overlay", "virtio_pci")
ROOT = Path(__file__).parents[1]

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules); do /bin/busybox insmod /$module; done 2>/dev/null
/bin/busybox mount -t tmpfs tmp /mnt
/bin/busybox mkdir /mnt/low /mnt/up /mnt/work /mnt/root
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro hostroot /mnt/low
/bin/busybox mount -t overlay -o lowerdir=/mnt/low,upperdir=/mnt/up,workdir=/mnt/work overlay /mnt/root
for place in proc sys dev; do /bin/busybox mount --move /$place /mnt/root/$place; done
/bin/busybox mount -t tmpfs tmp /mnt/root/run
/bin/busybox cp /guest.py /mnt/root/run/guest.py
echo GUEST-BEGINS
/bin/busybox chroot /mnt/root /bin/sh -c 'cd {root} && PATH={path} PYTHONPATH={root} {python} /run/guest.py'
echo GUEST-ENDS
/bin/busybox poweroff -f
"""


class Machine:
    """Built in `folder` once; `run` starts it anew for each program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tools = ("qemu-system-x86_64", "busybox", "cpio", "modprobe", "depmod", "gcc", "make", "dpkg", "apt-get")
        for program in tools:
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed; on Debian: {INSTALL}")
        self.version = self._headers()
        self._unpack()
        self._build_module()

    def _headers(self) -> str:
        found = sorted(
            path.parent.name for path in Path("/lib/modules").glob("*/build") if "rt" not in path.parent.name
        )
        if not found:
            pytest.skip(f"there are no kernel headers; on Debian: {INSTALL}")
        return found[-1]

    def _unpack(self) -> None:
        packages = [f"linux-image-{self.version}", "v4l2loopback-dkms"]
        if subprocess.run(["apt-get", "download", *packages], cwd=self.folder, capture_output=True).returncode:
            pytest.skip(f"the packages {', '.join(packages)} cannot be downloaded")
        for package in self.folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package.name, "root"], cwd=self.folder, check=True)

    def _build_module(self) -> None:
        [source] = (self.folder / "root/usr/src").glob("v4l2loopback-*")
        make = ["make", "-C", f"/lib/modules/{self.version}/build", f"M={source}", "modules"]
        subprocess.run(make, check=True, capture_output=True)
        extra = self.folder / "root/lib/modules" / self.version / "extra"
        extra.mkdir()
        shutil.copy(source / "v4l2loopback.ko", extra)
        subprocess.run(["depmod", "-b", str(self.folder / "root"), self.version], check=True)

    def _modules(self) -> list[Path]:
        """The modules needed, each after those it builds on."""
        found: dict[Path, None] = {}
        for name in NEEDED:
            ask = ["modprobe", "-d", str(self.folder / "root"), "-S", self.version, "--show-depends", name]
            for line in subprocess.run(ask, capture_output=True, text=True, check=True).stdout.splitlines():
                if line.startswith("insmod"):
                    found[Path(line.split()[1])] = None
        return list(found)

    def _start_files(self, program: str) -> Path:
        tree = self.folder / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        for name in ("bin", "proc", "sys", "dev", "mnt"):
            (tree / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), tree / "bin/busybox")
        modules = self._modules()
        for module in modules:
            shutil.copy(module, tree / module.name)
        (tree / "modules").write_text("\n".join(module.name for module in modules))
        (tree / "guest.py").write_text(program)
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        init = INIT.format(root=ROOT, path=path, python=sys.executable)
        (tree / "init").write_text(init)
        (tree / "init").chmod(0o755)
        names = subprocess.run(["find", "."], cwd=tree, capture_output=True, check=True).stdout
        packed = subprocess.run(["cpio", "-o", "-H", "newc"], input=names, cwd=tree, capture_output=True, check=True)
        start = self.folder / "initrd.gz"
        start.write_bytes(gzip.compress(packed.stdout, 1))
        return start

    def run(self, program: str, seconds: float = 240) -> str:
        """What the program printed in the guest, where /dev/video0 is a loopback device."""
        share = "local,id=r,path=/,security_model=none,readonly=on,multidevs=remap"
        command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"]
        command += ["-nographic", "-no-reboot", "-nic", "none"]
        command += ["-kernel", str(self.folder / "root/boot" / f"vmlinuz-{self.version}")]
        command += ["-initrd", str(self._start_files(program)), "-append", "console=ttyS0 quiet panic=-1"]
        command += ["-fsdev", share, "-device", "virtio-9p-pci,fsdev=r,mount_tag=hostroot"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
        said = done.stdout.decode(errors="replace").replace("\r", "")
        assert "GUEST-BEGINS" in said and "GUEST-ENDS" in said, said[-3000:]
        return said.split("GUEST-BEGINS")[1].split("GUEST-ENDS")[0]
