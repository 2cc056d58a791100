"""Which places a worker may read, and which devices it may use: what programs need, and nothing that is a person's."""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from glob import glob
from pathlib import Path

_LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")  # of `sysconfig`'s names for folders
_PACKAGE = Path(__file__).resolve().parents[2]

_SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/opt/cuda", "/opt/rocm",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/localtime", "/etc/timezone",
    "/etc/nsswitch.conf", "/etc/mime.types", "/etc/os-release", "/etc/fonts", "/etc/alternatives", "/etc/OpenCL",
    "/etc/vulkan", "/etc/ssl/openssl.cnf",
    "/sys/devices", "/sys/fs/cgroup", "/sys/bus/pci", "/sys/class", "/sys/kernel/mm", "/sys/module/nvidia",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/vmstat", "/proc/version", "/proc/devices",
    "/proc/filesystems", "/proc/loadavg", "/proc/uptime", "/proc/sys/vm", "/proc/sys/kernel", "/proc/driver/nvidia",
    "/proc/driver/nvidia-uvm",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_CARDS = ("/dev/nvidia*", "/dev/nvidia-caps/*", "/dev/dri/*", "/dev/kfd", "/dev/dxg")

# What sets up number crunching, by the name or its beginning. Everything else may be a secret.
_KEPT_VARIABLES = (
    "PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "PYTHONHASHSEED", "PYTHONUTF8", "PYTHONMALLOC",
    "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE",
)  # fmt: skip
_KEPT_BEGINNINGS = (
    "LC_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "NUMEXPR_", "VECLIB_", "ONEDNN_", "DNNL_", "MALLOC_",
    "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "HIP_", "HSA_", "ROCR_", "TORCH_", "PYTORCH_", "TF_", "XLA_",
)  # fmt: skip
# Where packages keep what they make as they are imported or run: all in the worker's own folder.
_CACHES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_HOME",
           "TRITON_CACHE_DIR", "NUMBA_CACHE_DIR", "KERAS_HOME", "CUDA_CACHE_PATH")  # fmt: skip


def to_read() -> list[str]:
    """The interpreter, the installed packages, this one with its demos, and the system's libraries."""
    interpreter = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    interpreter |= {path for name, path in sysconfig.get_paths().items() if name in _LIBRARIES}
    own = {str(_PACKAGE), str(_PACKAGE.parent / "assets" / "demo")}
    return sorted({*_SYSTEM, *interpreter - {"/"}, *own, *_only_packages(sys.path)})


def to_use() -> list[str]:
    """Device files: those that every program uses, and those of graphics cards."""
    return [*_DEVICES, *(found for pattern in _CARDS for found in sorted(glob(pattern)))]


def environment(folder: Path, path: Iterable[str]) -> dict[str, str]:
    """The environment variables of a worker.

    Args:
        folder: its own folder, which it may write.
        path: where it imports from.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _KEPT_VARIABLES or name.upper().startswith(_KEPT_BEGINNINGS)
    }
    own = {name: str(folder) for name in ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP")}
    caches = {name: str(folder / "cache" / name.lower()) for name in _CACHES}
    names = dict.fromkeys(("USER", "LOGNAME", "USERNAME"), "pairlift")
    python = {"PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"}
    # joblib would ask for a semaphore that others share, and warn where there is none; HDF5 for a lock.
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "1", "JOBLIB_MULTIPROCESSING": "0", "HDF5_USE_FILE_LOCKING": "FALSE"}
    return quiet | kept | own | caches | names | python


def _only_packages(path: Iterable[str]) -> set[str]:
    """Those folders to import from that hold no more than packages: not the home folder, nor what the app runs in."""
    persons = [Path.home(), Path.cwd(), Path(tempfile.gettempdir()), _PACKAGE.parent]
    folders = {Path(entry).resolve() for entry in path if entry}
    return {str(folder) for folder in folders if not any(place.is_relative_to(folder) for place in persons)}
