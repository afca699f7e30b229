"""Images and data sets on the host: NumPy arrays, NHWC, float32, the same for every device."""

from msinet_core.data.images import (
    FoundImage,
    find_images,
    fit,
    prepare_image,
    read_image,
    read_map,
    restore_map,
    write_map,
)

__all__ = [
    "FoundImage",
    "find_images",
    "fit",
    "prepare_image",
    "read_image",
    "read_map",
    "restore_map",
    "write_map",
]
