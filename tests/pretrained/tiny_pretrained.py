"""Small random models of the package transformers, with a tokenizer fitted to the tests' text, as folders."""

from pathlib import Path
from typing import Any

from tests.tiny_runs import TEXT

UNSEEN = "A hen sat, and “naïve” cats ran: ça va? 🙂 The dog\n\n  ran away.\n"


def tokenizer_of(text: str = TEXT, size: int = 300) -> Any:
    """A byte-level BPE as GPT-2 has it, fitted to a text; <|begin|> begins a text, <|end|> ends it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    alphabet, special = pre_tokenizers.ByteLevel.alphabet(), ["<|begin|>", "<|end|>"]
    engine.train_from_iterator(
        [text], trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=special)
    )
    return PreTrainedTokenizerFast(tokenizer_object=engine, bos_token="<|begin|>", eos_token="<|end|>")


def model_of(kind: str = "llama", vocab_size: int = 310, context: int = 64, seed: int = 1) -> Any:
    """A random model with a few ids more than the tokenizer has."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    if kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocab_size, n_positions=context, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5
            )
        )
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=context, initializer_range=0.5,
        )
    )  # fmt: skip


def saved(folder: Path, kind: str = "llama", **options: Any) -> Path:
    """A model's folder, in safetensors."""
    model_of(kind, **options).save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    return folder
