"""Images and datasets on the host: NumPy arrays, NHWC, float32, the same for every device."""

from msinet_core.data.dataset import Dataset, open_dataset
from msinet_core.data.demo import make_demo
from msinet_core.data.images import FoundImage, find_images, read_image, read_map, write_map
from msinet_core.data.pipeline import BatchPipeline
from msinet_core.data.published import PUBLISHED, PublishedDataset
from msinet_core.data.resize import fit, restore_map
from msinet_core.data.sample import Sample

__all__ = [
    "PUBLISHED",
    "BatchPipeline",
    "Dataset",
    "FoundImage",
    "PublishedDataset",
    "Sample",
    "find_images",
    "fit",
    "make_demo",
    "open_dataset",
    "read_image",
    "read_map",
    "restore_map",
    "write_map",
]
