"""What EfficientNet's paper says of B0, whose stages Lite0 shares."""

from __future__ import annotations

#: Stages of EfficientNet-B0 as its paper lists them: expansion, kernel, stride, channels in, channels out, repeats.
STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)
