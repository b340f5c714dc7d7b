"""What can go wrong with the demo's CRM: set by tests, off by default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Faults:
    """
    Faults of a CRM's answers; what is counted is used up, the rest stays until it is taken back.

    :param delay: seconds before an answer of a report; with ``slow_from`` only where so many rows a page are asked.
    :param busy: so many answers are 429, with ``retry_after`` in their header.
    :param errors: so many answers are 500.
    :param drops: so many answers break off in the middle.
    :param expired: for so many questions the token has expired.
    :param refuse_logins: no login is right.
    :param window: the first and last day that answers say they are of.
    :param page_size: no page has more rows, and answers say so unless ``hide_size``.
    :param no_total: answers do not say how many rows there are.
    :param wrong_total: answers announce so many rows more.
    :param repeat: this page holds the rows of the one before it.
    :param overlap: this page begins with the last row of the one before it, and lacks its own last one.
    :param stop: this page and those after it are empty.
    :param change: before this page is answered, an order is added to the report.
    :param edit: the first row of this page differs from what the report has.
    :param times: how many answers repeat, overlap, stop, change or edit; None is all of them.
    """

    delay: float = 0.0
    slow_from: int = 0
    busy: int = 0
    retry_after: str = "0"
    errors: int = 0
    drops: int = 0
    expired: int = 0
    refuse_logins: bool = False
    window: tuple[str, str] | None = None
    page_size: int | None = None
    hide_size: bool = False
    no_total: bool = False
    wrong_total: int = 0
    repeat: int | None = None
    overlap: int | None = None
    stop: int | None = None
    change: int | None = None
    edit: int | None = None
    times: int | None = None

    def take(self, counted: str) -> bool:
        """Whether a counted fault is to happen now; it is used up by that."""
        left: int = getattr(self, counted)
        if left > 0:
            setattr(self, counted, left - 1)
        return left > 0

    def spoils(self, number: int, first: int | None, *, also_later: bool = False) -> bool:
        """Whether a fault of pages happens on page ``number``."""
        if first is None or not (number == first or (also_later and number > first)) or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True
