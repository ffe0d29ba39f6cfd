"""Weights as other programs name and order them, one module each, made into a state_dict with torch's names.

That state_dict is what they have in common: `embed.weight` (V, E), or none where ids are one-hot; of each recurrent
layer `rnn.weight_ih_l0` (G * H, in), `rnn.weight_hh_l0` (G * H, H), `rnn.bias_ih_l0`, `rnn.bias_hh_l0` (G * H,), with
the G gates in torch's order (LSTM: i f g o, GRU: r z n); `fc.weight` (V, H) and `fc.bias` (V,).
`charlm.formats.foreign` makes a model of it.
"""
