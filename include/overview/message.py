"""A message to people: as plain text, as HTML, and short for a chat. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

#: What is told at most of a part, in lines and in characters a line.
MOST_LINES, LONGEST_LINE = 40, 400
_MOST_IN_CHAT, _LONGEST_IN_CHAT = 5, 160


@dataclass(frozen=True)
class Part:
    """A heading, and a line for each thing below it."""

    heading: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Message:
    """
    What is sent; the texts may hold anything, they are escaped where that is needed.

    :param title: one line; the subject of a mail.
    :param parts: those without lines are left out.
    :param links: URLs by what they show.
    """

    title: str
    parts: Sequence[Part] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """The title as a mail's header takes it."""
        return _shortened(" ".join(self.title.split()), LONGEST_LINE)

    @property
    def text(self) -> str:
        """All of it as plain text."""
        blocks = ["\n".join([part.heading, *(f"  {line}" for line in lines)]) for part, lines in self._parts()]
        links = "\n".join(f"{label}: {url}" for label, url in self.links.items())
        return "\n\n".join(block for block in [self.subject, *blocks, links] if block) + "\n"

    @property
    def html(self) -> str:
        """All of it as HTML."""
        blocks = [f"<h3>{escape(self.subject)}</h3>"]
        for part, lines in self._parts():
            items = "".join(f"<li>{escape(line)}</li>" for line in lines)
            blocks.append(f"<p><b>{escape(part.heading)}</b></p><ul>{items}</ul>")
        links = " · ".join(f'<a href="{escape(url)}">{escape(label)}</a>' for label, url in self.links.items())
        return "\n".join([*blocks, f"<p>{links}</p>" if links else ""])

    @property
    def short(self) -> str:
        """The most of it for a chat; ``&``, ``<`` and ``>`` are escaped as Slack wants it."""
        lines = [f"*{self.subject}*"]
        for part, found in self._parts(_MOST_IN_CHAT, _LONGEST_IN_CHAT):
            lines += [part.heading, *(f"• {line}" for line in found)]
        lines += [f"{label}: {url}" for label, url in self.links.items()]
        return escape("\n".join(lines), quote=False)

    def _parts(self, most: int = MOST_LINES, longest: int = LONGEST_LINE) -> Iterator[tuple[Part, list[str]]]:
        for part in self.parts:
            if part.lines:
                lines = [_shortened(" ".join(line.split()), longest) for line in part.lines[:most]]
                more = len(part.lines) - most
                yield part, [*lines, f"and {more} more"] if more > 0 else lines


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
