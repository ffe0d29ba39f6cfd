"""The usual way to write with a character model, as tutorials have it: one character a call; nothing of ours."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from bench.usual_training import CharRNN, one_hot_encode


def predict(net, char, chars, char2int, h, top_k=None):  # type: ignore[no-untyped-def]
    """Given a character, the next one and the hidden state."""
    x = np.array([[char2int[char]]])
    x = one_hot_encode(x, len(chars))
    inputs = torch.from_numpy(x)
    h = tuple([each.data for each in h]) if isinstance(h, tuple) else h.data
    out, h = net(inputs, h)
    p: Any = F.softmax(out, dim=1).data
    if top_k is None:
        top_ch: Any = np.arange(len(chars))
    else:
        p, top_ch = p.topk(top_k)
        top_ch = top_ch.numpy().squeeze()
    p = p.numpy().squeeze()
    char = np.random.choice(top_ch, p=p / p.sum())
    return chars[char], h


def sample(net, size, chars, prime="The", top_k=None):  # type: ignore[no-untyped-def]
    """A text of `size` characters after `prime`."""
    net.eval()
    char2int = {char: number for number, char in enumerate(chars)}
    written = list(prime)
    h = start(net)
    for char in prime:
        char, h = predict(net, char, chars, char2int, h, top_k=top_k)
    written.append(char)
    for _ in range(size):
        char, h = predict(net, written[-1], chars, char2int, h, top_k=top_k)
        written.append(char)
    return "".join(written)


def start(net):  # type: ignore[no-untyped-def]
    """The hidden state before the first character."""
    zeros = torch.zeros(net.rnn.num_layers, 1, net.rnn.hidden_size)
    return (zeros, zeros) if isinstance(net.rnn, torch.nn.LSTM) else zeros


def model(arch: str, vocab_size: int, hidden_size: int, num_layers: int) -> CharRNN:
    """A net with its first weights."""
    return CharRNN(arch, vocab_size, hidden_size, num_layers, dropout=0.3)
