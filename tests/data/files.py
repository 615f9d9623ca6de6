"""Small data sets on disk, in the formats of the real ones."""

import gzip
import hashlib
import struct

import numpy as np
from PIL import Image


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def idx(array):
    """The bytes of an idx file (LeCun's format of MNIST): unsigned bytes, big-endian sizes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def labelled_images(n, shape, n_classes=3, seed=0):
    """Random uint8 images `[n, *shape]` and labels that hold every class."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, *shape), dtype=np.uint8), random.permutation(np.arange(n) % n_classes)


def write_mnist(raw, train, test, packed=False):
    """Write the four files of MNIST into the folder `raw`; `packed`: their .gz too."""
    raw.mkdir(parents=True, exist_ok=True)
    for prefix, (images, labels) in (("train", train), ("t10k", test)):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = raw / f"{prefix}-{kind}-ubyte"
            path.write_bytes(idx(array))
            if packed:
                raw.joinpath(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))


def write_images(folder, n, size=(6, 5), seed=0, suffix="png", mode="RGB"):
    """Write `n` random images `000.png`, `001.png`, ... of (height, width) `size`; return their pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    shape = (n, *size) if mode == "L" else (n, *size, 3)
    pixels = random.integers(0, 256, shape, dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i:03d}.{suffix}")
    return pixels
