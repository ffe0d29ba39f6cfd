"""What mails say: of each its text, without headers and attachments."""

import re
from collections import Counter
from email import message_from_bytes, policy
from email.message import EmailMessage

from charlm.data.decoding import decode
from charlm.data.markup import html_text

ONE, MANY = ".eml", ".mbox"
# Where a mail begins in a mailbox (RFC 4155): a line that the program wrote which put it there, with a year.
_BEGINS = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\n]{1,200}\d{4}[^\n]{0,60}\n")
_ESCAPED = re.compile(r"^>(?=>*From )", re.MULTILINE)


def mailbox_text(data: bytes) -> tuple[str, Counter[str]]:
    """The mails of a mailbox with a blank line between them, and what was left out with its numbers."""
    texts, left_out = list[str](), Counter[str]()
    for one in _BEGINS.split(data)[1:]:
        text, more = mail_text(one)
        left_out += more
        if text.strip():
            texts.append(_ESCAPED.sub("", text))
    return "\n\n".join(text.strip("\n") for text in texts) + "\n", left_out


def mail_text(data: bytes) -> tuple[str, Counter[str]]:
    """The text of a mail, the plain one if there are several, and what was left out with its numbers."""
    message = message_from_bytes(data, policy=policy.default)
    assert isinstance(message, EmailMessage)  # that policy's
    left_out = Counter({"mail header": len(message), "attachment": sum(1 for _ in message.iter_attachments())})
    body = message.get_body(("plain", "html"))
    if not isinstance(body, EmailMessage):
        return "", left_out
    text = _content(body).replace("\r\n", "\n")
    if body.get_content_subtype() == "html":
        text, more = html_text(text)
        left_out += more
    return text.strip("\n") + "\n", left_out


def _content(body: EmailMessage) -> str:
    """The text of a part; where its encoding is unknown or wrong, in the one that is found."""
    try:
        return str(body.get_content())
    except (LookupError, ValueError):
        payload = body.get_payload(decode=True)
        return decode(payload, "the mail")[0] if isinstance(payload, bytes) else ""
