"""From a trained network to files for where it is used: ONNX, OpenVINO, int8, TorchScript, each judged and measured."""

from __future__ import annotations

from ckdmed.deploy.deploying import FORMATS, DeployOptions, deploy
from ckdmed.deploy.deployment import Deployment
from ckdmed.deploy.verdict import Limits

__all__ = ["FORMATS", "DeployOptions", "Deployment", "Limits", "deploy"]
