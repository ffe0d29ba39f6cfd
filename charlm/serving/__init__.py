"""Trained models kept warm, and the texts they generate for the page and the endpoints."""

from charlm.serving.baselines import NgramBaselines
from charlm.serving.batcher import GeneratedText, Starts
from charlm.serving.measurements import Finding
from charlm.serving.service import Serving

__all__ = ["Finding", "GeneratedText", "NgramBaselines", "Serving", "Starts"]
