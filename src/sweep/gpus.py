"""The GPUs of this machine that a study may use."""

import ctypes
import os


def gpus() -> list[str]:
    """Return their names as in CUDA_VISIBLE_DEVICES; empty if torch cannot use any."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:  # no driver, so the slow import of torch is not needed
        return []
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (visible.split(",") if visible else [str(number) for number in range(count)])[:count]
