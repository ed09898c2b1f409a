"""Compile every CUDA kernel without a GPU and show what the compiled kernels need.

    python benchmarks/cuda_report.py [--write benchmarks/results/cuda_ptxas.md]

A kernel that spills registers is slow, one with too many keeps a multiprocessor half empty; ptxas says both. Needs nvcc
(on PATH or in CUDA_HOME) and c++filt.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fasthash._files import replace_file

ROOT = Path(__file__).resolve().parents[1]
ARCHS = ("80", "90a", "100")
REGISTER_LIMIT = 128  # a thread: two blocks of 256 threads on a multiprocessor


@dataclass(frozen=True)
class Usage:
    """What a kernel compiled for one architecture needs."""

    source: str
    kernel: str  # with its template arguments
    arch: str
    registers: int
    stack: int  # bytes a thread
    spills: int  # bytes stored and loaded
    shared: int  # bytes a block, what a launch adds left out

    def problem(self) -> str | None:
        """Why it is not good enough, or None."""
        what = f"{self.source}: {self.kernel} for sm_{self.arch}"
        if self.spills or self.stack:
            return f"{what}: {self.spills} bytes of spills, {self.stack} bytes of stack, expected none"
        if self.registers > REGISTER_LIMIT:
            return f"{what}: {self.registers} registers, at most {REGISTER_LIMIT}"
        return None


def find_nvcc() -> str | None:
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(name):
            return str(Path(os.environ[name], "bin", "nvcc"))
    return shutil.which("nvcc")


def sources() -> list[Path]:
    return sorted((ROOT / "csrc" / "cuda").glob("*.cu"))


def declared_kernels() -> set[str]:
    """The names of all kernels in the text of csrc/cuda: what a report must hold."""
    files = [*(ROOT / "csrc" / "cuda").glob("*.cu"), *(ROOT / "csrc" / "cuda").glob("*.h")]
    return {name for file in files for name in re.findall(r"__global__[^;{]*?\b(\w+_kernel)\s*\(", file.read_text())}


def compile_source(nvcc: str, source: Path, archs: tuple[str, ...] = ARCHS) -> list[Usage]:
    """All kernels of a file for all architectures.

    Raises:
        RuntimeError: nvcc fails; the message is what it says.
    """
    codes = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, "-std=c++17", "-O3", f"-I{ROOT / 'csrc'}", *codes, "-fatbin", "-Xptxas", "-v", str(source)]
        done = subprocess.run([*command, "-o", str(Path(folder, "out"))], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"cuda_report: nvcc failed for {source.name}: {done.stderr.strip()}")
    return list(parse(source.name, done.stderr))


def parse(source: str, text: str) -> list[Usage]:
    """The kernels of what ptxas says with -v."""
    found = []
    entry = r"Compiling entry function '(\w+)' for 'sm_(\w+)'\n(.*?Used \d+ registers.*?)\n"
    for mangled, arch, body in re.findall(entry, text, flags=re.DOTALL):
        numbers = {
            name: int(match[1]) if (match := re.search(pattern, body)) else 0
            for name, pattern in {
                "registers": r"Used (\d+) registers",
                "stack": r"(\d+) bytes stack frame",
                "shared": r"(\d+) bytes smem",
            }.items()
        }
        spills = sum(int(n) for n in re.findall(r"(\d+) bytes spill", body))
        found.append(Usage(source, mangled, arch, spills=spills, **numbers))
    names = _kernel_names([use.kernel for use in found])
    return [Usage(**{**vars(use), "kernel": name}) for use, name in zip(found, names, strict=True)]


def _kernel_names(mangled: list[str]) -> list[str]:
    """scan_words_kernel<unsigned int, 8> for each mangled name."""
    if not mangled:
        return []
    lines = subprocess.run(["c++filt", *mangled], capture_output=True, text=True, check=True).stdout.splitlines()
    names = []
    for line in lines:
        match = re.search(r"(\w+_kernel)(<.*?>)?\(", re.sub(r"\((?:int|bool)\)(?=[\w-])", "", line))
        names.append(line if match is None else match[1] + (match[2] or "").replace("fasthash::", ""))
    return names


def compile_all(nvcc: str, jobs: int | None = None) -> list[Usage]:
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        # Large files first: the last one to end alone would leave the other cores idle.
        largest = sorted(sources(), key=lambda path: path.stat().st_size, reverse=True)
        done = [use for uses in pool.map(lambda path: compile_source(nvcc, path), largest) for use in uses]
    return sorted(done, key=lambda use: (use.source, use.kernel, ARCHS.index(use.arch)))


def problems(uses: list[Usage]) -> list[str]:
    """Why the kernels are not good enough; empty where they are."""
    found = [problem for use in uses if (problem := use.problem())]
    compiled = Counter(re.sub("<.*", "", use.kernel) for use in uses)
    missing = sorted(declared_kernels() - compiled.keys())
    return found + [f"{name}: declared in csrc/cuda, but not in the report" for name in missing]


def table(uses: list[Usage], version: str) -> str:
    """A Markdown page."""
    lines = [
        "# CUDA kernels, compiled ahead of time",
        "",
        f"Made by `python benchmarks/cuda_report.py` with {version}; no GPU is involved. Every kernel of csrc/cuda for "
        f"{', '.join('sm_' + arch for arch in ARCHS)}: registers a thread. Limits: {REGISTER_LIMIT} registers, no "
        "stack, no spills. Shared memory: bytes a block apart from what a launch asks for.",
        "",
        f"| file | kernel | {' | '.join('sm_' + arch for arch in ARCHS)} | shared |",
        f"|---|---|{'---|' * len(ARCHS)}---|",
    ]
    rows: dict[tuple[str, str], dict[str, Usage]] = {}
    for use in uses:
        rows.setdefault((use.source, use.kernel), {})[use.arch] = use
    for (source, kernel), by_arch in rows.items():
        registers = [str(by_arch[arch].registers) if arch in by_arch else "" for arch in ARCHS]
        shared = max(use.shared for use in by_arch.values())
        lines.append(f"| {source} | {kernel} | {' | '.join(registers)} | {shared} |")
    return "\n".join([*lines, ""])


def version_of(nvcc: str) -> str:
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"release ([\d.]+)", text)
    return f"nvcc {match[1]}" if match else "nvcc"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile every CUDA kernel and show what it needs.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--jobs", type=int, help="parallel compilers (default: the number of cores)")
    options = parser.parse_args()
    nvcc = find_nvcc()
    if nvcc is None:
        parser.exit(1, "cuda_report: no nvcc on PATH and no CUDA_HOME\n")
    uses = compile_all(nvcc, options.jobs)
    page, wrong = table(uses, version_of(nvcc)), problems(uses)
    print(page)
    for problem in wrong:
        print(f"too much: {problem}", file=sys.stderr)
    if options.write and not wrong:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        replace_file(options.write, lambda path: path.write_text(page, encoding="utf-8"))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
