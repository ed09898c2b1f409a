"""Builds ``fasthash._C`` from csrc/ with ninja.

Environment:
    FASTHASH_CUDA         auto (default: compile csrc/cuda when a working nvcc is found), on (fail without one), off
    TORCH_CUDA_ARCH_LIST  GPU architectures, e.g. "8.0;9.0a;12.0+PTX"; default: those of DEFAULT_ARCHS that nvcc knows.
                          "+PTX" on any entry also keeps its PTX, which the driver compiles for newer GPUs
    MAX_JOBS              parallel compile jobs; default: the number of cores
    FASTHASH_CXXFLAGS     added behind the flags of every C++ file and of linking; `make sanitize` builds with it

One binary holds every CPU instruction set: files named ``*_avx2.cpp``, ``*_avx512.cpp``, ``*_avx512bf16.cpp`` and
``*_amx.cpp`` are compiled with those flags on x86-64, ``*_neon.cpp`` on 64-bit Arm, and chosen at run time. The CUDA
runtime is linked statically, so the same wheel imports without a driver.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
DEFAULT_ARCHS = ("8.0", "9.0a", "10.0+PTX", "12.0")
CXX_FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra", "-fno-math-errno"]
ISA_FLAGS = {
    "_avx2.cpp": ["-mavx2", "-mfma", "-mbmi2", "-mpopcnt"],
    "_avx512.cpp": [
        "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vpopcntdq", "-mavx512vbmi", "-mgfni",
        "-mavx2", "-mfma", "-mbmi2", "-mpopcnt",
    ],
    "_neon.cpp": [],
}  # fmt: skip
ISA_FLAGS["_avx512bf16.cpp"] = [*ISA_FLAGS["_avx512.cpp"], "-mavx512bf16"]
ISA_FLAGS["_amx.cpp"] = [*ISA_FLAGS["_avx512bf16.cpp"], "-mamx-tile", "-mamx-bf16"]
MACHINES = {suffix: ("aarch64", "arm64") if suffix == "_neon.cpp" else ("x86_64", "amd64") for suffix in ISA_FLAGS}


class Cuda(NamedTuple):
    """A toolkit that compiles for ``archs``; ``lib`` holds the static runtime."""

    home: Path
    lib: Path
    archs: list[str]


def isa_flags(source: Path) -> list[str] | None:
    """What the name of a C++ file asks for; None: it is not for this machine."""
    for suffix, flags in ISA_FLAGS.items():
        if source.name.endswith(suffix):
            return flags if platform.machine().lower() in MACHINES[suffix] else None
    return []


def cuda_home() -> Path | None:
    """The toolkit's folder: CUDA_HOME, or what nvcc itself says (nvcc on PATH may be a wrapper or a link)."""
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(name):
            return Path(os.environ[name]).absolute()
    try:
        dry = output_of(["nvcc", "--dryrun", "none.cu"]).stderr
    except OSError:
        return None
    for line in dry.splitlines():
        if line.startswith("#$ TOP="):
            return Path(line.split("=", 1)[1].strip())
    for line in dry.splitlines():
        if line.startswith("#$ _HERE_="):
            return Path(line.split("=", 1)[1].strip()).parent
    return None


def output_of(command: list[str], cwd: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=cwd)


def gencode(archs: list[str]) -> list[str]:
    flags = []
    for arch in archs:
        number = arch.removesuffix("+PTX").replace(".", "")
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if arch.endswith("+PTX"):
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags


def asked_archs() -> list[str]:
    """The entries of TORCH_CUDA_ARCH_LIST; none when it is unset or empty."""
    archs = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(";", " ").split()
    for arch in archs:
        if not re.fullmatch(r"[0-9]+\.[0-9]+[a-z]?(\+PTX)?", arch):
            raise SystemExit(f"TORCH_CUDA_ARCH_LIST: expected entries like 8.0, 9.0a or 10.0+PTX, got {arch!r}")
    return archs


def default_archs(nvcc: Path) -> list[str]:
    """Those of DEFAULT_ARCHS that this nvcc knows; all of them when it does not say."""
    known = set(re.findall(r"^compute_(\d+)\b", output_of([str(nvcc), "--list-gpu-arch"]).stdout, re.MULTILINE))
    if not known:
        return list(DEFAULT_ARCHS)
    archs = [arch for arch in DEFAULT_ARCHS if re.sub(r"[^0-9]", "", arch) in known]  # listed without a letter
    if archs and not any(arch.endswith("+PTX") for arch in archs):
        archs[0] += "+PTX"  # an nvcc older than 10.0: its oldest entry has no letter, so its PTX runs on newer GPUs
    return archs


def find_cuda() -> tuple[Cuda | None, str]:
    """(toolkit, "") or (None, why there is none); honours FASTHASH_CUDA."""
    want = os.environ.get("FASTHASH_CUDA", "auto")
    if want not in ("auto", "on", "off"):
        raise SystemExit(f"FASTHASH_CUDA must be auto, on or off, got {want!r}")
    if want == "off":
        return None, "built with FASTHASH_CUDA=off"
    home = cuda_home()
    if home is None:
        cuda, reason = None, "no nvcc on PATH and no CUDA_HOME when this was built"
    else:
        cuda, reason = probe(home, asked_archs())
    if cuda is None and want == "on":
        raise SystemExit(f"FASTHASH_CUDA=on, but CUDA cannot be used: {reason}")
    return cuda, reason


def probe(home: Path, archs: list[str]) -> tuple[Cuda | None, str]:
    """(toolkit, "") or (None, reason): a toolkit that cannot compile or link must not break the CPU build."""
    nvcc, lib = home / "bin" / "nvcc", cudart_dir(home)
    try:
        archs = archs or default_archs(nvcc)
        failed = compile_probe(nvcc, archs)
    except OSError as error:
        return None, f"nvcc at {home} does not run: {error}"
    if not archs:
        return None, f"nvcc at {home} knows none of {' '.join(DEFAULT_ARCHS)}"
    if failed:
        return None, f"nvcc at {home} failed for {';'.join(archs)}: {failed}"
    if lib is None:
        return None, f"libcudart_static.a not found under {home}"
    return Cuda(home, lib, archs), ""


def compile_probe(nvcc: Path, archs: list[str]) -> str:
    """Compile an empty kernel; "" or the last line of what nvcc says (it may reject the host compiler, or an arch)."""
    with tempfile.TemporaryDirectory() as tmp:
        Path(tmp, "probe.cu").write_text("#include <cuda_runtime.h>\n__global__ void probe() {}\n")
        # Relative names: the folder's random name would be part of the reason, and so of every object's flags.
        done = output_of([str(nvcc), "-c", "probe.cu", "-o", "probe.o", *gencode(archs)], cwd=tmp)
    lines = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
    return "" if done.returncode == 0 else lines[-1]


def cudart_dir(home: Path) -> Path | None:
    for name in ("lib64", "lib", f"targets/{platform.machine()}-linux/lib", "targets/sbsa-linux/lib"):
        if (home / name / "libcudart_static.a").exists():
            return home / name
    return None


def c_string(text: str) -> str:
    """text as a C string literal: what is not plain ASCII becomes octal bytes of UTF-8."""
    plain = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\' else f"\\{b:03o}" for b in text.encode("utf-8", "replace"))
    return f'"{"".join(plain)}"'


def q(value: str | Path) -> str:
    """A path in a ``build`` line of ninja."""
    return str(value).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def sh(*words: str | Path) -> str:
    """Words of a shell command in a variable of ninja."""
    return shlex.join(str(word) for word in words).replace("$", "$$")


def added_flags() -> list[str]:
    """FASTHASH_CXXFLAGS as words."""
    return shlex.split(os.environ.get("FASTHASH_CXXFLAGS", ""))


def compile_flags(cuda: Cuda | None, why_no_cuda: str) -> tuple[list[str], list[str], list[str]]:
    """The flags of every C++ file, those that csrc/bindings has besides, and the flags of every CUDA file.

    What was found of CUDA is told to the bindings alone: it would otherwise recompile everything when it changes."""
    import pybind11

    includes = [ROOT / "csrc", pybind11.get_include(), sysconfig.get_path("include")]
    flags = [*CXX_FLAGS, *added_flags(), *(f"-I{path}" for path in includes)]
    if cuda is None:
        return flags, [f"-DFASTHASH_NO_CUDA_REASON={c_string(why_no_cuda)}"], []
    archs = c_string(";".join(cuda.archs))
    told = ["-DFASTHASH_WITH_CUDA", f"-I{cuda.home / 'include'}", f"-DFASTHASH_CUDA_ARCHS={archs}"]
    nvcc_flags = ["-std=c++17", "-O3", "-Xcompiler", "-fPIC,-fvisibility=hidden", "-cudart", "static", "-lineinfo"]
    return flags, told, [*nvcc_flags, f"-I{ROOT / 'csrc'}", *gencode(cuda.archs)]


def ninja_file(build: Path, target: Path, cuda: Cuda | None, why_no_cuda: str) -> str:
    """The text of build.ninja: every source of csrc/ to an object in build, the objects to target."""
    cxx = os.environ.get("CXX", "c++")  # a command line: "ccache g++" is meant as two words
    flags, told, nvcc_flags = compile_flags(cuda, why_no_cuda)
    lines = ["ninja_required_version = 1.8", "rule cxx", f"  command = {cxx} -MMD -MF $out.d $flags -c $in -o $out"]
    lines += ["  depfile = $out.d", "  deps = gcc"]
    if cuda:
        lines += ["rule nvcc", f"  command = {sh(cuda.home / 'bin' / 'nvcc')} -MD -MF $out.d $flags -c $in -o $out"]
        lines += ["  depfile = $out.d", "  deps = gcc"]
    objects = []
    for source in sorted([*(ROOT / "csrc").rglob("*.cpp"), *((ROOT / "csrc").rglob("*.cu") if cuda else [])]):
        isa = isa_flags(source)
        if isa is None:
            continue
        obj = build / (str(source.relative_to(ROOT / "csrc")).replace(os.sep, "_") + ".o")
        used = nvcc_flags if source.suffix == ".cu" else [*flags, *isa]
        if source.parent.name == "bindings":
            used = [*used, *told]
        lines.append(f"build {q(obj)}: {'nvcc' if source.suffix == '.cu' else 'cxx'} {q(source)}")
        lines.append(f"  flags = {sh(*used)}")
        objects.append(obj)
    link = [f"-L{cuda.lib}", "-lcudart_static", "-lrt"] if cuda else []
    link += ["-ldl"] if sys.platform == "linux" else []  # part of libc only since glibc 2.34
    shared = ["-shared", "-pthread"] if sys.platform != "darwin" else ["-bundle", "-undefined", "dynamic_lookup"]
    lines += ["rule link", f"  command = {cxx} {sh(*shared, *added_flags())} $in -o $out {sh(*link)}"]
    lines += [f"build {q(target)}: link {' '.join(q(obj) for obj in objects)}", f"default {q(target)}", ""]
    return "\n".join(lines)


class BuildNative(build_ext):
    """Writes build.ninja for csrc/ and runs it: unchanged files are not compiled again."""

    def build_extension(self, ext: Extension) -> None:
        build = Path(self.build_temp).resolve()
        build.mkdir(parents=True, exist_ok=True)
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        cuda, why_no_cuda = find_cuda()
        (build / "build.ninja").write_text(ninja_file(build, target, cuda, why_no_cuda), encoding="utf-8")
        told = f"for {';'.join(cuda.archs)}" if cuda else f"left out: {why_no_cuda}"
        print(f"fasthash._C: CUDA {told}", flush=True)
        jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
        status = subprocess.run([sys.executable, "-m", "ninja", "-C", str(build), *jobs]).returncode
        if status != 0:
            raise SystemExit(f"fasthash._C: ninja failed with exit status {status}; the lines above say at which file")


setup(ext_modules=[Extension("fasthash._C", sources=[])], cmdclass={"build_ext": BuildNative})
