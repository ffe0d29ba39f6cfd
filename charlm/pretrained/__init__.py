"""Causal language models that others trained, with tokenizers of their own: loaded, written with, and scored.

    from charlm.pretrained import load
    model = load("SmolLM2-135M")
    print("".join(model.generate("Holmes")))

They need `requirements-pretrained.txt`. torch and transformers are imported when a model is loaded.
"""

from charlm.pretrained.loading import SUGGESTED, is_pretrained, load
from charlm.pretrained.model import MAY_KNOW, Pretrained
from charlm.pretrained.score import Score

__all__ = ["MAY_KNOW", "SUGGESTED", "Pretrained", "Score", "is_pretrained", "load"]
