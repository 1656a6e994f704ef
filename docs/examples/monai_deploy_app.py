"""An application of MONAI Deploy (App SDK 4): a DICOM study in, a DICOM Segmentation out.

    python monai_deploy_app.py --input STUDY --output RESULTS --model brain_tumour_seg_kd/models/model.ts

STUDY is a folder with one MR series of post-contrast T1, the model that of an exported bundle (`ckdmed export`). Five
operators, all of them the SDK's own; the bundle brings preprocessing, inferer, postprocessing. For research use only.
"""

from __future__ import annotations

from pathlib import Path

from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application
from monai.deploy.core.domain import Image
from monai.deploy.core.io_type import IOType
from monai.deploy.operators import (
    DICOMDataLoaderOperator,
    DICOMSegmentationWriterOperator,
    DICOMSeriesSelectorOperator,
    DICOMSeriesToVolumeOperator,
    IOMapping,
    MonaiBundleInferenceOperator,
)
from monai.deploy.operators.dicom_seg_writer_operator import SegmentDescription
from pydicom.sr.codedict import codes

RULES = '{"selections": [{"name": "MR", "conditions": {"Modality": "MR"}}]}'


class BrainTumourApp(Application):
    """Load, select, make a volume, infer, write."""

    def compose(self) -> None:
        """Join the five operators."""
        context: AppContext = Application.init_app_context(self.argv)
        loader = DICOMDataLoaderOperator(
            self, CountCondition(self, 1), input_folder=Path(context.input_path), name="loader"
        )
        selector = DICOMSeriesSelectorOperator(self, rules=RULES, name="selector")
        to_volume = DICOMSeriesToVolumeOperator(self, name="to_volume")
        bundle = MonaiBundleInferenceOperator(
            self,
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            app_context=context,
            bundle_path=Path(context.model_path),
            name="bundle",
        )
        tumour = SegmentDescription(
            segment_label="tumour",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_name="ckdmed",
            algorithm_family=codes.DCM.ArtificialIntelligence,
            algorithm_version="0.1.0",
        )
        writer = DICOMSegmentationWriterOperator(
            self, segment_descriptions=[tumour], output_folder=Path(context.output_path), name="writer"
        )
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        series = {("study_selected_series_list", "study_selected_series_list")}
        self.add_flow(selector, to_volume, series)
        self.add_flow(to_volume, bundle, {("image", "image")})
        self.add_flow(selector, writer, series)
        self.add_flow(bundle, writer, {("pred", "seg_image")})


if __name__ == "__main__":
    BrainTumourApp().run()
