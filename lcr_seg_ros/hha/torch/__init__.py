"""HHA in PyTorch: the channels of :mod:`lcr_seg_ros.hha.exact` for whole batches, on the device that holds the depth.

Suited to CUDA graphs and ``torch.compile``: nothing is read back from the device, no branch depends on a value, and
constants are filled in on the device, since a copy from the host cannot be captured. Convolutions and matrix products
are avoided, as TF32, autocast and other switches meant for the network would reduce their precision. Per-pixel work is
done in float32; float64 is used for disparity (to round as exact does), for the plane fits of the large windows (the
moments of their masks are exact integers, but may exceed 2^24) and for gravity.

It differs from exact in precision, and in that gravity is estimated from every other pixel of every other row.
"""

from lcr_seg_ros.hha.torch.encode import TorchHha
from lcr_seg_ros.hha.torch.graphed import GraphedHha

__all__ = ["GraphedHha", "TorchHha"]
