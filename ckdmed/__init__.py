"""Knowledge distillation for brain tumour imaging, built on MONAI."""

__version__ = "0.1.0"
