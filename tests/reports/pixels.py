from __future__ import annotations

import os

import matplotlib.colors
import numpy as np
from matplotlib.image import imread


def pixels_of(path: str | os.PathLike[str], color: str) -> int:
    """How many pixels of a picture have about this colour."""
    picture = imread(path)[..., :3]
    return int((np.abs(picture - matplotlib.colors.to_rgb(color)).max(-1) < 0.06).sum())
