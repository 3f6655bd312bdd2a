"""Ask the driver whether this machine has a CUDA device, so that no runtime has to be imported to find out."""

from __future__ import annotations

import ctypes
from functools import cache

DRIVER = "libcuda.so.1"


@cache
def why_no_cuda() -> str:
    """Why nothing can run on CUDA here, in a few words; "" if there is a device."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return f"this machine has no NVIDIA driver ({DRIVER} is not found)"
    if error := driver.cuInit(0):
        return f"the NVIDIA driver does not start (CUDA error {error}): does nvidia-smi work?"
    count = ctypes.c_int(0)
    if driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "the NVIDIA driver shows no device: is CUDA_VISIBLE_DEVICES set to one that exists?"
    return ""
