"""Trained models kept warm, and the texts they write for the page and the endpoints."""

from charlm.serving.baselines import NgramBaselines
from charlm.serving.batcher import Begun, Draft
from charlm.serving.service import Serving

__all__ = ["Begun", "Draft", "NgramBaselines", "Serving"]
