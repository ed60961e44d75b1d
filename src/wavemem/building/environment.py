"""The environment of the processes that make the book: nothing of whoever builds it but what they need to run."""

from __future__ import annotations

import os
from pathlib import Path

import wavemem

__all__ = ["KEYED", "clean"]

KEYED = ("LD_LIBRARY_PATH", "WAVEMEM_ELMAN_KERNEL", "WAVEMEM_SELECTIVE_KERNEL", "WAVEMEM_WAVE_KERNEL")
"""Variables that are handed on, can change a number, and so belong to a chapter's key."""

# Where things are. What these can change is known otherwise: by a digest, as data sets and compiled kernels are, or by
# the name of the device.
_PASSED = (
    *("HOME", "LOGNAME", "USER", "PATH", "TMPDIR", "XDG_CACHE_HOME", "SYSTEMROOT"),
    *("CC", "CUDA_VISIBLE_DEVICES", "WAVEMEM_CACHE", "WAVEMEM_COMPILE", "WAVEMEM_DATA"),
    *("SSL_CERT_DIR", "SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
_FIXED = {
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "TZ": "UTC",
}


def clean(threads: int = 1) -> dict[str, str]:
    """A fresh environment; Python finds this copy of the package and what is installed, and no user's files.

    The number of threads does not depend on how many chapters run at a time, since it can change the last digits of
    what they compute.
    """
    environment = {name: os.environ[name] for name in (*_PASSED, *KEYED) if name in os.environ} | _FIXED
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        environment[name] = str(threads)
    # Threads that spin while they wait make a shared core many times slower.
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    environment["PYTHONPATH"] = str(Path(wavemem.__file__).parents[1])
    return environment
