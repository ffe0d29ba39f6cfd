"""What writes with a model: drawn texts beside each other, and beam searches, each a batch of its own."""

from collections.abc import Sequence

from charlm.models import LanguageModel
from charlm.models.stepping import can_step
from charlm.sample.beam import BeamSearch
from charlm.sample.streams import CompiledWriter, Stream, TorchWriter


class ModelWriter:
    """Writes every kind of text.

    Args:
        own: draws, and reads for the searches.
    """

    def __init__(self, own: CompiledWriter | TorchWriter) -> None:
        self._own = own
        self.is_compiled = isinstance(own, CompiledWriter)

    def write(self, streams: Sequence[Stream], steps: int) -> list[str]:
        """See Writer."""
        drawn = [stream for stream in streams if stream.config.beams == 1]
        pieces = dict(zip(drawn, self._own.write(drawn, steps) if drawn else (), strict=True))
        for stream in streams:
            if stream.config.beams > 1:
                stream.state = stream.state or BeamSearch(self._own, stream)
                pieces[stream] = stream.state.go_on(steps)
        return [pieces[stream] for stream in streams]


def writer_for(model: LanguageModel) -> ModelWriter:
    """The quickest way to write with a model as it is now; puts it into evaluation mode."""
    model.eval()
    model.prepare()
    return ModelWriter(CompiledWriter(model) if can_step(model) else TorchWriter(model))
