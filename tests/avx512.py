#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The kernels for x86-64, those for AVX-512 among them, on any machine: in Bochs, which emulates such processors.

    tests/avx512.py [--model corei7_icelake_u] [names...]

qemu-user and valgrind know no AVX-512; Bochs does, but it is a whole computer. So the unit tests of the kernels are
linked statically and run on the smallest kernel that can carry them (avx512/kernel.c), which a ROM of our own
enters (avx512/rom.S): no BIOS, no disk, no system. This file puts the program, the kernel, the page tables and what a
program finds on its stack into one image of memory. Names of tests as arguments run only those that contain them.
"""
import argparse
import os
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import neon  # noqa: E402: what both compile
import tap  # noqa: E402
from neon import SRC  # noqa: E402

COMPILER, LINKER, EMULATOR = "gcc", "ld", "bochs"
CODEC = ["kernel", "base64", "base64_avx2", "base64_avx512", "base64_sse41", "crc64", "crc_pclmul", "crc_vpclmul", "md5", "md5_avx2",
         "md5_avx512", "md5_four", "sha256", "sha256_ni", "sha256_scalar"]
TESTS = ["base64", "crc64", "kernel", "md5_kernel", "sha256_kernel"]
FORMS = ["[avx512vbmi, avx2, sse4.1, scalar]", "[avx512vbmi, avx2, sse2, scalar]"]  # those that must have run
KERNEL_FLAGS = ["-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-mgeneral-regs-only", "-mno-red-zone",
                "-fno-stack-protector", "-fcf-protection=none", "-fno-pie", "-fno-asynchronous-unwind-tables"]
COMPILE_SECONDS_MAX, RUN_SECONDS_MAX = 300, 800

# Where everything lies; avx512/kernel.c and rom.S say the same.
TABLES, ENTRIES, KERNEL, START, ENTRY = 0x100000, 0x110000, 0x180000, 0x3f0000, 0x3ffff8
MAPPED, MAPPED_END, MEMORY_MIB = 0x4000000, 0x8000000, 160
PRESENT, LARGE = 3, 0x83
PAGE, LARGE_PAGE, VGA_BYTES = 4096, 2 << 20, 32 << 10

# No sound, no disks, no PCI. The screen is for a viewer that never comes; the programs' output goes to port 0xe9.
MACHINE = """config_interface: textconfig
display_library: rfb, options="timeout=0"
cpu: model={model}, count=1, ips=50000000, reset_on_triple_fault=0
memory: guest={memory}, host={memory}
romimage: file={folder}/rom
vgaromimage: file={folder}/vga
optramimage1: file={folder}/image, address={address:#x}
pci: enabled=0
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
speaker: enabled=1, mode=none
floppya: type=none
ata0: enabled=0
ata1: enabled=0
boot: floppy
port_e9_hack: enabled=1
panic: action=fatal
error: action=ignore
info: action=report
debug: action=ignore
log: {folder}/log
clock: sync=none
"""


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS_MAX)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-4000:]}"


class Image:
    """Memory from TABLES upwards."""

    def __init__(self):
        self.bytes = bytearray()

    def put(self, address, data):
        at = address - TABLES
        if len(self.bytes) < at + len(data):
            self.bytes.extend(bytes(at + len(data) - len(self.bytes)))
        self.bytes[at:at + len(data)] = data

    def put_tables(self):
        """Every address is itself. The first GiB is in large pages but for what mmap gives out, which starts absent."""
        self.put(TABLES, struct.pack("<Q", TABLES + PAGE | PRESENT))
        self.put(TABLES + PAGE, struct.pack("<Q", TABLES + 2 * PAGE | PRESENT))
        for i in range(512):
            address = i * LARGE_PAGE
            entry = address | LARGE
            if MAPPED <= address < MAPPED_END:
                entry = ENTRIES + (address - MAPPED) // LARGE_PAGE * PAGE | PRESENT
            self.put(TABLES + 2 * PAGE + 8 * i, struct.pack("<Q", entry))

    def put_program(self, path, arguments):
        with open(path, "rb") as file:
            elf = file.read()
        entry, headers = struct.unpack_from("<QQ", elf, 24)
        size, count = struct.unpack_from("<HH", elf, 54)
        first = None
        for i in range(count):
            kind, _, offset, address, _, in_file, _, _ = struct.unpack_from("<IIQQQQQQ", elf, headers + i * size)
            if kind == 1:  # what is loaded; memory behind it is zero from the beginning
                self.put(address, elf[offset:offset + in_file])
                first = address if first is None else first
        self.put(ENTRY, struct.pack("<Q", entry))
        self.put_start(first + headers, size, count, arguments)

    def put_start(self, headers, size, count, arguments):
        """argc, argv, no environment, the auxiliary vector; the strings lie behind them."""
        strings, places, at = b"", [], START + PAGE
        for word in arguments:
            places.append(at + len(strings))
            strings += word.encode() + b"\0"
        random = at + len(strings)
        vector = [3, headers, 4, size, 5, count, 6, PAGE, 23, 0, 25, random, 0, 0]
        words = [len(places), *places, 0, 0, *vector]
        self.put(START, struct.pack(f"<{len(words)}Q", *words))
        self.put(at, strings + bytes(range(16)))


def build(folder, names):
    """The ROM and the image of memory."""
    program, rom = os.path.join(folder, "program"), os.path.join(folder, "rom")
    sources = neon.sources_of(CODEC, TESTS)
    run([COMPILER, *neon.FLAGS, "-no-pie", "-o", program, *sources])
    run([COMPILER, "-c", "-o", rom + ".o", os.path.join(HERE, "avx512", "rom.S")])
    run([LINKER, "-Ttext", "0", "-e", "0", "--oformat", "binary", "-o", rom, rom + ".o"])
    kernel = os.path.join(folder, "kernel")
    run([COMPILER, *KERNEL_FLAGS, "-c", "-o", kernel + ".o", os.path.join(HERE, "avx512", "kernel.c")])
    run([LINKER, "-T", os.path.join(HERE, "avx512", "kernel.ld"), "--oformat", "binary", "-o", kernel, kernel + ".o"])
    image = Image()
    image.put_tables()
    with open(kernel, "rb") as file:
        image.put(KERNEL, file.read())
    image.put_program(program, ["program", *names])
    with open(os.path.join(folder, "image"), "wb") as file:
        file.write(image.bytes)


def boot(folder, model):
    """The command that switches the machine on, without a network where that can be had: it serves its screen."""
    for name, text in (("machine", MACHINE.format(model=model, memory=MEMORY_MIB, folder=folder, address=TABLES)),
                       ("go", "c\n"), ("vga", "\0" * VGA_BYTES)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    alone = ["unshare", "--map-root-user", "--net"]
    if shutil.which(alone[0]) is None or subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        alone = []
    return [*alone, EMULATOR, "-q", "-f", os.path.join(folder, "machine"), "-rc", os.path.join(folder, "go")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", help="taken and not used, as every suite is given one")
    parser.add_argument("--model", default="corei7_icelake_u", help="a processor of Bochs: bochs --help cpu")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    results, what = neon.Names(), "the kernels for x86 and their machine are built"
    missing = [tool for tool in (COMPILER, LINKER, EMULATOR) if shutil.which(tool) is None]
    if missing:
        results.skipped(what, f"there is no {' and no '.join(missing)}: tools/install_packages test")
        return results.end()
    with tempfile.TemporaryDirectory(prefix="headrace-avx512-") as folder:
        results.run(what, lambda: build(folder, options.names))
        if results.failures == 0:
            results.include(boot(folder, options.model), {}, RUN_SECONDS_MAX, folder)
            if not options.names:
                results.run("every form for AVX-512 ran", lambda: neon.every_form(results.names, FORMS))
    return results.end()


if __name__ == "__main__":
    sys.exit(main())
