"""What the panel "What next?" shows of a text: all its places, packed so that stepping needs no server."""

from typing import Any

import gradio as gr

from charlm.config import SampleConfig
from charlm.errors import CharLMError, ConfigError
from charlm.files import parsed
from charlm.public.services import Services
from charlm.tokenizers.characters import called, visible_line
from charlm.ui.compare.view import texts_in
from charlm.ui.html import asset

LIKELIEST = 12
MOST_SETTINGS = 1 << 14  # characters of the settings a page sends
FINE = 10_000  # chances go to the page in so many parts


def view(services: Services, asked: Any) -> dict[str, Any]:
    """The places of the text that a page asks for.

    Args:
        services: the models.
        asked: {run, text: [prompt, text], how: settings as JSON}.

    Raises:
        CharLMError: nothing such can be looked at.
    """
    asked = asked if isinstance(asked, dict) else {}
    run = services.store.get(str(asked.get("run", ""))[:200])
    texts = texts_in({run.run_id: [asked.get("text")]}, [run]).get(run.run_id)
    if not texts:
        raise ConfigError("there is no text to look at; press Generate")
    outlook = services.serving.next_tokens(run, texts[0].prompt, texts[0].text, settings(asked.get("how")), LIKELIEST)
    return {"unit": "character" if run.model_config.level == "char" else "token", **packed(outlook)}


def settings(message: Any) -> SampleConfig:
    """The settings in a page's message; the usual ones if it holds none.

    Raises:
        ConfigError: one is out of range.
    """
    try:
        given = parsed(message or "{}", MOST_SETTINGS) if isinstance(message, str) else {}
    except ValueError:
        given = {}
    return SampleConfig.from_dict(given if isinstance(given, dict) else {})


def packed(outlook: Any) -> dict[str, Any]:
    """An Outlook as JSON.

    Returns:
        `start` and `pieces` as they are. `places`: of each [ids, chances, raw chances, entropy], and where a token
        stands [id, chance, raw, rank, bits] after it; chances in parts of FINE. `names`: of every id that occurs, how
        it is shown and what to call it.
    """
    names: dict[str, list[str]] = {}
    places = []
    for place in outlook.places:
        stands = [place.stands] if place.stands else []
        names |= {
            str(one.token): [visible_line(one.shown, "␣"), _called(one.shown)] for one in place.likeliest + stands
        }
        ids, chances = [one.token for one in place.likeliest], [_fine(one.chance) for one in place.likeliest]
        row: list[Any] = [ids, chances, [_fine(one.raw) for one in place.likeliest], round(place.entropy, 2)]
        row += [[one.token, _fine(one.chance), _fine(one.raw), place.rank, round(place.bits, 2)] for one in stands]
        places.append(row)
    return {"start": outlook.start, "pieces": outlook.pieces, "places": places, "names": names}


def _fine(chance: float) -> int:
    """Parts of FINE; none only for no chance at all."""
    return max(1, round(FINE * chance)) if chance else 0


def _called(token: str) -> str:
    return called(token) if len(token) == 1 else token


NEXT_JS = asset("next.js")


def build(services: Services) -> gr.HTML:
    """The panel, folded; its `take` event says which token is to stand where.

    Its data are {run, sample, place, token, texts}, the last as `present.texts_in` wants them.
    """

    def look(asked: Any = None) -> dict[str, Any]:
        try:
            return view(services, asked)
        except CharLMError as error:
            return {"error": str(error)}

    with gr.Accordion("What next?", open=False, elem_id="compare-next-fold", elem_classes="fold section-fold"):
        return gr.HTML("", elem_id="compare-next", js_on_load=NEXT_JS, server_functions=[look], apply_default_css=False)
