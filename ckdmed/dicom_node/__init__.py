"""A DICOM node: takes magnetic resonance series, segments them, and sends the results on.

Needs ``pip install 'ckdmed[dicom]'``. What listens imports neither torch nor MONAI; the network runs in a process of
its own, one for each series.
"""
