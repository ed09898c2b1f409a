"""Builds ``fasthash._C`` from csrc/ with ninja.

Environment:
    FASTHASH_CUDA         auto (default: compile csrc/cuda when a working nvcc is found), on (fail without one), off
    TORCH_CUDA_ARCH_LIST  GPU architectures, e.g. "8.0;9.0a"; the last one is also kept as PTX when it ends in "+PTX"
    MAX_JOBS              parallel compile jobs; default: the number of cores

One binary holds every CPU instruction set: files named ``*_avx2.cpp`` and ``*_avx512.cpp`` are compiled with those
flags and chosen at run time. The CUDA runtime is linked statically, so the same wheel imports without a driver.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
DEFAULT_ARCHS = "8.0;9.0a;10.0"
CXX_FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra", "-fno-math-errno"]
ISA_FLAGS = {
    "_avx2.cpp": ["-mavx2", "-mfma", "-mbmi2", "-mpopcnt"],
    "_avx512.cpp": [
        "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vpopcntdq", "-mavx512vbmi", "-mgfni",
        "-mavx2", "-mfma", "-mbmi2", "-mpopcnt",
    ],
}  # fmt: skip


def is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def cuda_home() -> Path | None:
    """The toolkit's folder: CUDA_HOME, or what nvcc itself says (nvcc on PATH may be a wrapper or a link)."""
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(name):
            return Path(os.environ[name])
    try:
        dry = subprocess.run(["nvcc", "--dryrun", "none.cu"], capture_output=True, text=True).stderr
    except OSError:
        return None
    for line in dry.splitlines():
        if line.startswith("#$ TOP="):
            return Path(line.split("=", 1)[1].strip())
    for line in dry.splitlines():
        if line.startswith("#$ _HERE_="):
            return Path(line.split("=", 1)[1].strip()).parent
    return None


def gencode(archs: str) -> list[str]:
    flags = []
    for arch in archs.replace(" ", ";").split(";"):
        if not arch:
            continue
        number, ptx = arch.removesuffix("+PTX").replace(".", ""), arch.endswith("+PTX")
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if ptx:
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags


def find_cuda() -> tuple[Path | None, str]:
    """(toolkit, "") or (None, why there is none); honours FASTHASH_CUDA."""
    want = os.environ.get("FASTHASH_CUDA", "auto")
    if want not in ("auto", "on", "off"):
        raise SystemExit(f"FASTHASH_CUDA must be auto, on or off, got {want!r}")
    if want == "off":
        return None, "built with FASTHASH_CUDA=off"
    home = cuda_home()
    reason = "no nvcc on PATH and no CUDA_HOME when this was built"
    if home is not None:
        reason = probe_nvcc(home)
        if not reason:
            return home, ""
    if want == "on":
        raise SystemExit(f"FASTHASH_CUDA=on, but CUDA cannot be used: {reason}")
    return None, reason


def probe_nvcc(home: Path) -> str:
    """Compile an empty kernel: an nvcc that rejects the host compiler must not break the CPU build."""
    with tempfile.TemporaryDirectory() as tmp:
        source = Path(tmp, "probe.cu")
        source.write_text("#include <cuda_runtime.h>\n__global__ void probe() {}\n")
        cmd = [str(home / "bin" / "nvcc"), "-c", str(source), "-o", str(Path(tmp, "probe.o"))]
        try:
            done = subprocess.run(cmd, capture_output=True, text=True)
        except OSError as error:
            return f"nvcc at {home} does not run: {error}"
        return (
            "" if done.returncode == 0 else f"nvcc at {home} failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
        )


def cudart_dir(home: Path) -> Path:
    for name in ("lib64", "lib", f"targets/{platform.machine()}-linux/lib", "targets/sbsa-linux/lib"):
        if (home / name / "libcudart_static.a").exists():
            return home / name
    raise SystemExit(f"libcudart_static.a not found under {home}")


def q(value: str | Path) -> str:
    return str(value).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


class BuildNative(build_ext):
    """Writes build.ninja for csrc/ and runs it: unchanged files are not compiled again."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        build = Path(self.build_temp).resolve()
        build.mkdir(parents=True, exist_ok=True)
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        cuda, why_no_cuda = find_cuda()
        archs = os.environ.get("TORCH_CUDA_ARCH_LIST") or DEFAULT_ARCHS
        cxx = os.environ.get("CXX", "c++")
        includes = [ROOT / "csrc", pybind11.get_include(), sysconfig.get_path("include")]
        flags = [*CXX_FLAGS, *(f"-I{path}" for path in includes)]
        if cuda:
            flags += ["-DFASTHASH_WITH_CUDA", f"-I{cuda / 'include'}", f'-DFASTHASH_CUDA_ARCHS="{archs}"']
        else:
            flags.append(f'-DFASTHASH_NO_CUDA_REASON="{why_no_cuda}"')
        nvcc_flags = ["-std=c++17", "-O3", "-Xcompiler", "-fPIC,-fvisibility=hidden", "-cudart", "static", "-lineinfo"]
        nvcc_flags += [f"-I{ROOT / 'csrc'}", *gencode(archs)]
        lines = ["ninja_required_version = 1.8", "rule cxx", f"  command = {cxx} -MMD -MF $out.d $flags -c $in -o $out"]
        lines += ["  depfile = $out.d", "  deps = gcc"]
        if cuda:
            lines += ["rule nvcc", f"  command = {cuda / 'bin' / 'nvcc'} -MD -MF $out.d $flags -c $in -o $out"]
            lines += ["  depfile = $out.d", "  deps = gcc"]
        objects = []
        for source in sorted([*(ROOT / "csrc").rglob("*.cpp"), *((ROOT / "csrc").rglob("*.cu") if cuda else [])]):
            isa = next((extra for suffix, extra in ISA_FLAGS.items() if source.name.endswith(suffix)), [])
            if isa and not is_x86():
                continue
            obj = build / (str(source.relative_to(ROOT / "csrc")).replace(os.sep, "_") + ".o")
            used = nvcc_flags if source.suffix == ".cu" else [*flags, *isa]
            lines.append(f"build {q(obj)}: {'nvcc' if source.suffix == '.cu' else 'cxx'} {q(source)}")
            lines.append(f"  flags = {shlex.join(used).replace('$', '$$')}")
            objects.append(obj)
        link = [f"-L{cudart_dir(cuda)}", "-lcudart_static", "-lrt"] if cuda else []
        link += ["-ldl"] if sys.platform == "linux" else []  # part of libc only since glibc 2.34
        shared = ["-shared", "-pthread"] if sys.platform != "darwin" else ["-bundle", "-undefined", "dynamic_lookup"]
        lines += ["rule link", f"  command = {cxx} {shlex.join(shared)} $in -o $out {shlex.join(link)}"]
        lines += [f"build {q(target)}: link {' '.join(q(obj) for obj in objects)}", f"default {q(target)}", ""]
        (build / "build.ninja").write_text("\n".join(lines))
        print(f"fasthash._C: CUDA {'for ' + archs if cuda else 'left out: ' + why_no_cuda}", flush=True)
        jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
        subprocess.run([sys.executable, "-m", "ninja", "-C", str(build), *jobs], check=True)


setup(ext_modules=[Extension("fasthash._C", sources=[])], cmdclass={"build_ext": BuildNative})
