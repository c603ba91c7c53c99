"""Semantic segmentation: the class of every pixel, by the decoders of segmentation-models-pytorch."""

from mtdrive.tasks.segmentation.decoders import DESIGNS, DecoderName
from mtdrive.tasks.segmentation.task import Segmentation

__all__ = ["DESIGNS", "DecoderName", "Segmentation"]
