"""Teachers, students and the parts that connect them."""

from __future__ import annotations

from ckdmed.networks.attention_gates import ChannelGate, SpatialGate
from ckdmed.networks.backbone_unet import BACKBONES, BackboneUNet, load_backbone_weights
from ckdmed.networks.bridge_fusion import ClassTokenFusion, TokenFusion
from ckdmed.networks.cascaded_unet import CascadedUNet
from ckdmed.networks.checkpoint import WeightReport, adapt_input_channels, fill_network, read_state_dict
from ckdmed.networks.classification_student import (
    CLASSIFICATION_STUDENTS,
    classification_student,
    classification_student_map,
    classification_student_taps,
)
from ckdmed.networks.classifier_teacher import (
    CLASSIFIER_FUSIONS,
    TEACHER_KINDS,
    classification_teacher,
    classification_teacher_taps,
    last_block,
    last_convolution,
)
from ckdmed.networks.cnn_vit_unet import CnnViTUNet
from ckdmed.networks.cohra_unet import CohraUNet
from ckdmed.networks.cooperative_fusion import CooperativeFusion
from ckdmed.networks.coordinate_attention import CoordinateAttention
from ckdmed.networks.deep_medic import DeepMedic
from ckdmed.networks.edgevit_block import EdgeViTBlock
from ckdmed.networks.efficientnet import EfficientNetB0, load_efficientnet_weights
from ckdmed.networks.efficientnet_lite import EfficientNetLiteEncoder, EfficientNetLiteUNet
from ckdmed.networks.efficientnet_lite_classifier import EfficientNetLiteClassifier
from ckdmed.networks.exclusive_regions import ExclusiveRegions, exclusive_regions
from ckdmed.networks.freezing import VGG19_BN_EARLY_LAYERS, VGG19_EARLY_LAYERS, freeze, frozen_paths
from ckdmed.networks.grid_transformer import GridTransformer
from ckdmed.networks.grouped_unet import GroupedUNet
from ckdmed.networks.hybrid import HybridClassifier
from ckdmed.networks.map_hybrid import MapHybridClassifier
from ckdmed.networks.padded import (
    AnySizeAttentionUNet,
    AnySizeDynUNet,
    AnySizeResidualUNet,
    AnySizeSegResNet,
    AnySizeSwinUNETR,
)
from ckdmed.networks.plain_cnn import PlainCNN
from ckdmed.networks.plain_vit import PlainViT
from ckdmed.networks.published_weights import IMAGENET, weights_file
from ckdmed.networks.pyramid_attention_unet import PyramidAttentionUNet
from ckdmed.networks.pyramid_pooling import PyramidPooling
from ckdmed.networks.res2net_block import Res2NetBlock
from ckdmed.networks.residual_unit import PreActivationUnit
from ckdmed.networks.segmentation_kinds import SEGMENTATION_KINDS, head_weights, middle_stage
from ckdmed.networks.segmentation_student import (
    SEGMENTATION_STUDENTS,
    segmentation_student,
    segmentation_student_taps,
    with_transformer_taps,
)
from ckdmed.networks.segmentation_teacher import (
    SEGMENTATION_TEACHERS,
    segmentation_teacher,
    segmentation_teacher_taps,
    usual_base,
)
from ckdmed.networks.unet import DoubleConv, UNet, UpBlock
from ckdmed.networks.unet_blocks import UNET_BLOCKS, unet_block
from ckdmed.networks.unet_plus_plus import UNetPlusPlus
from ckdmed.networks.unet_vit import UNetViT
from ckdmed.networks.vgg import VGG, load_vgg_weights, vgg19, vgg19_bn, vgg_tiny
from ckdmed.networks.vgg_vit_unet import VGGViTUNet
from ckdmed.networks.vit import TRANSFORMER_TAPS, attention_heads, build_vit, set_layer_norm_eps, transformer_taps
from ckdmed.networks.vit_classifier import ViTClassifier
from ckdmed.networks.vit_weights import load_vit_weights

__all__ = [
    "AnySizeAttentionUNet",
    "AnySizeDynUNet",
    "AnySizeResidualUNet",
    "AnySizeSegResNet",
    "AnySizeSwinUNETR",
    "BACKBONES",
    "BackboneUNet",
    "CLASSIFICATION_STUDENTS",
    "CLASSIFIER_FUSIONS",
    "CascadedUNet",
    "ChannelGate",
    "ClassTokenFusion",
    "CohraUNet",
    "CooperativeFusion",
    "CnnViTUNet",
    "CoordinateAttention",
    "DeepMedic",
    "EdgeViTBlock",
    "ExclusiveRegions",
    "DoubleConv",
    "EfficientNetB0",
    "EfficientNetLiteClassifier",
    "EfficientNetLiteEncoder",
    "EfficientNetLiteUNet",
    "GridTransformer",
    "GroupedUNet",
    "HybridClassifier",
    "IMAGENET",
    "MapHybridClassifier",
    "PlainCNN",
    "PlainViT",
    "PreActivationUnit",
    "PyramidAttentionUNet",
    "PyramidPooling",
    "Res2NetBlock",
    "SEGMENTATION_KINDS",
    "SEGMENTATION_STUDENTS",
    "SEGMENTATION_TEACHERS",
    "SpatialGate",
    "TEACHER_KINDS",
    "TRANSFORMER_TAPS",
    "TokenFusion",
    "UNET_BLOCKS",
    "UNet",
    "UNetPlusPlus",
    "UNetViT",
    "UpBlock",
    "VGG",
    "VGG19_BN_EARLY_LAYERS",
    "VGG19_EARLY_LAYERS",
    "VGGViTUNet",
    "ViTClassifier",
    "WeightReport",
    "adapt_input_channels",
    "attention_heads",
    "build_vit",
    "classification_student",
    "classification_student_map",
    "classification_student_taps",
    "classification_teacher",
    "classification_teacher_taps",
    "fill_network",
    "freeze",
    "frozen_paths",
    "head_weights",
    "last_block",
    "last_convolution",
    "exclusive_regions",
    "load_backbone_weights",
    "load_efficientnet_weights",
    "load_vgg_weights",
    "load_vit_weights",
    "middle_stage",
    "read_state_dict",
    "segmentation_student",
    "segmentation_student_taps",
    "segmentation_teacher",
    "segmentation_teacher_taps",
    "set_layer_norm_eps",
    "transformer_taps",
    "unet_block",
    "usual_base",
    "vgg19",
    "vgg19_bn",
    "vgg_tiny",
    "weights_file",
    "with_transformer_taps",
]
