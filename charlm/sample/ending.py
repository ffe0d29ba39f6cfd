"""Stop strings: a text ends before the first of them, wherever its tokens begin and end."""

from collections.abc import Sequence


class Ending:
    """Passes a text on, piece by piece, up to the first stop string, of which nothing is passed on.

    That is the one that is complete first; of those that end at the same character, the longest. How the text is cut
    into pieces changes nothing.

    Args:
        stops: the stop strings.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops = tuple(stops)
        self.found = False
        self._held = ""  # may be the beginning of a stop string

    def copy(self) -> "Ending":
        """One that goes on from here by itself."""
        other = Ending(self.stops)
        other.found, other._held = self.found, self._held
        return other

    def take(self, piece: str) -> str:
        """What can be passed on now, after the next piece; nothing once a stop string was found."""
        if not self.stops:
            return piece
        text, self._held = self._held + piece, ""
        if self.found:
            return ""
        places = [(text.find(stop) + len(stop), text.find(stop)) for stop in self.stops if stop in text]
        if places:
            self.found = True
            return text[: min(places)[1]]
        held = max(_begun(text, stop) for stop in self.stops)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """What was held back, now that no more is to come."""
        held, self._held = self._held, ""
        return held


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of a text are the beginning of a stop string."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
