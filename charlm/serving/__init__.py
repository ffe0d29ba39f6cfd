"""Trained models kept warm, and the texts they write for the page and the endpoints."""

from charlm.serving.drafts import Draft
from charlm.serving.service import Serving

__all__ = ["Draft", "Serving"]
