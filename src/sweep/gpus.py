"""The GPUs of this machine that a study may use."""

import ctypes
import os


def gpus() -> list[str]:
    """Their names as CUDA_VISIBLE_DEVICES has them; none where torch cannot use any."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:  # no driver; a machine without one need not wait for the import of torch
        return []
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (visible.split(",") if visible else [str(number) for number in range(count)])[:count]
