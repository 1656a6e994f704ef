"""Pictures and tables made from run records."""

from __future__ import annotations

from .classification import write_classification_report
from .classified import plot_classified
from .confusion import plot_confusion
from .corrected import CorrectedDifference, corrected_differences, corrected_table
from .curves import plot_curves, read_history
from .drawn_values import read_values
from .evaluation import write_segmentation_report
from .files import save_figure, write_bytes, write_csv, write_json
from .forest import plot_forest
from .gradcam import gradcam_maps, plot_gradcam
from .predictions import best_and_worst, plot_best_and_worst, plot_predictions
from .region_pictures import RegionPicture, plot_region_cases
from .regions import write_region_report
from .run_record import RunRecord, machine_in_words, package_versions, read_records
from .sweep import plot_sweep, plot_sweep_grid
from .tables import arm_table, markdown_table, mean_sd, patient_table

__all__ = [
    "CorrectedDifference",
    "RegionPicture",
    "RunRecord",
    "arm_table",
    "best_and_worst",
    "corrected_differences",
    "corrected_table",
    "gradcam_maps",
    "machine_in_words",
    "markdown_table",
    "mean_sd",
    "package_versions",
    "patient_table",
    "plot_best_and_worst",
    "plot_classified",
    "plot_confusion",
    "plot_curves",
    "plot_forest",
    "plot_gradcam",
    "plot_predictions",
    "plot_region_cases",
    "plot_sweep",
    "plot_sweep_grid",
    "read_history",
    "read_records",
    "read_values",
    "save_figure",
    "write_bytes",
    "write_classification_report",
    "write_csv",
    "write_json",
    "write_region_report",
    "write_segmentation_report",
]
