"""Pictures and tables made from run records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckdmed.lazy_names import lazy_names

if TYPE_CHECKING:
    from ckdmed.reports.classification import write_classification_report
    from ckdmed.reports.classified import plot_classified
    from ckdmed.reports.confusion import plot_confusion
    from ckdmed.reports.corrected import CorrectedDifference, corrected_differences, corrected_table
    from ckdmed.reports.costs import CostPoint, plot_against_costs
    from ckdmed.reports.curves import plot_curves, read_history
    from ckdmed.reports.drawn_values import read_values
    from ckdmed.reports.evaluation import write_segmentation_report
    from ckdmed.reports.files import save_figure, write_bytes, write_csv, write_json
    from ckdmed.reports.forest import plot_forest
    from ckdmed.reports.gradcam import gradcam_maps, plot_gradcam
    from ckdmed.reports.predictions import best_and_worst, plot_best_and_worst, plot_predictions
    from ckdmed.reports.region_pictures import RegionPicture, plot_region_cases
    from ckdmed.reports.regions import write_region_report
    from ckdmed.reports.run_record import RunRecord, machine_in_words, package_versions, read_records
    from ckdmed.reports.severity import plot_severities
    from ckdmed.reports.sweep import plot_sweep, plot_sweep_grid
    from ckdmed.reports.tables import arm_table, markdown_table, mean_sd, patient_table

# Overlays are drawn where PyTorch is not loaded, too (`ckdmed.dicom_results`).
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "classification": ("write_classification_report",),
        "classified": ("plot_classified",),
        "confusion": ("plot_confusion",),
        "corrected": ("CorrectedDifference", "corrected_differences", "corrected_table"),
        "costs": ("CostPoint", "plot_against_costs"),
        "curves": ("plot_curves", "read_history"),
        "drawn_values": ("read_values",),
        "evaluation": ("write_segmentation_report",),
        "files": ("save_figure", "write_bytes", "write_csv", "write_json"),
        "forest": ("plot_forest",),
        "gradcam": ("gradcam_maps", "plot_gradcam"),
        "predictions": ("best_and_worst", "plot_best_and_worst", "plot_predictions"),
        "region_pictures": ("RegionPicture", "plot_region_cases"),
        "regions": ("write_region_report",),
        "run_record": ("RunRecord", "machine_in_words", "package_versions", "read_records"),
        "severity": ("plot_severities",),
        "sweep": ("plot_sweep", "plot_sweep_grid"),
        "tables": ("arm_table", "markdown_table", "mean_sd", "patient_table"),
    },
)

__all__ = [
    "CorrectedDifference",
    "CostPoint",
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
    "plot_against_costs",
    "plot_best_and_worst",
    "plot_classified",
    "plot_confusion",
    "plot_curves",
    "plot_forest",
    "plot_gradcam",
    "plot_predictions",
    "plot_region_cases",
    "plot_severities",
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
