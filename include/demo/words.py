"""The texts of the demo's data, and which of them a column of some name holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

_GIVEN = (
    "Aisyah", "Ahmad", "Mei Ling", "Wei Jie", "Kavitha", "Rajesh", "Nurul Huda", "José", "Zoë", "Żółć", "Siti Nur",
    "陈美玲", "王小明", "முருகன்", "عائشة", "Søren", "O'Brien", "Łukasz", "Nguyễn", "Dewi",
)  # fmt: skip
_FAMILY = ("binti Abdullah", "bin Ismail", "Tan", "Lim", "a/l Subramaniam", "Wong", "Müller", "García", "Kowalski", "")
_GOODS = (
    "Nasi Lemak", "Teh Tarik", "Kopi O Ais", "Roti Canai", "Mee Goreng Mamak", "Char Kway Teow 炒粿條", "Café Latte",
    "Croissant 🥐", "Bubble Tea 珍珠奶茶", "Pierogi", "Ayam Percik", "Jus Tembikai", "Sandwich 12\"", "Crème brûlée",
)  # fmt: skip
_SIZES = ("", " (L)", " (S)", " - Set A", " + Telur", " x2", " 500ml", " Pedas!")

#: What breaks pipelines that handle text carelessly; put into every column of free text.
AWKWARD = (
    "Żółć gęślą jaźń", "🙂👩‍👩‍👧 emoji", "中文字符測試", "trailing blanks   ", "  leading blanks", "", "NULL", "\\N",
    "tab\there", "line\nbreak", "carriage\r\nreturn", 'quote " and \'', "comma, semicolon; pipe|", "back\\slash",
    "Selamat pagi, terima kasih", "e\u0301 combining", "\u200bzero width", "0", "-1", "1e5",
)  # fmt: skip

PEOPLE = tuple(f"{given} {family}".strip() for given in _GIVEN for family in _FAMILY)
PRODUCTS = tuple(f"{name}{size}" for name in _GOODS for size in _SIZES)
_REMARKS = (
    "kurang manis", "tanpa bawang, tolong asingkan sambal", "不要辣", "no ice", "Pelanggan minta resit e-invois 🙏",
    "table 12, birthday cake at 20:00, please bring candles", "bungkus", "extra napkins", "rata-rata: \"ok\"",
)  # fmt: skip

POOLS: dict[str, tuple[str, ...]] = {
    "people": PEOPLE,
    "remarks": _REMARKS,
    "words": ("Pantai", "Kenanga", "Melati", "Cempaka", "Mawar", "Anggerik", "Ścieżka", "小路"),
    "streets": tuple(f"No. {n}, Jalan {name}" for n in range(1, 40) for name in ("Ampang", "Tun Razak", "SS2/24")),
    "cities": ("Kuala Lumpur", "Petaling Jaya", "Johor Bahru", "George Town", "Ipoh", "Kota Kinabalu  "),
    "states": ("Selangor", "WP Kuala Lumpur", "Johor", "Pulau Pinang", "Perak", "Sabah"),
    "countries": ("Malaysia", "MYS", "Singapore"),
    "postcodes": tuple(f"{n:05}" for n in range(10_000, 98_000, 1_371)),
    "currencies": ("MYR", "MYR", "MYR", "SGD"),
    "emails": tuple(f"pelanggan{n}@example.com" for n in range(1, 200)),
    "phones": tuple(f"+601{n % 9}-{n * 7919 % 10_000_000:07}" for n in range(1, 200)),
    "statuses": ("Completed", "Completed", "Completed", "Paid", "Open", "Cancelled", "VOID"),
    "kinds": ("Dine In", "Take Away", "Delivery", "POS", "Kiosk", "Cash", "Visa", "Touch 'n Go", "GrabPay", "Default"),
    "stores": tuple(f"LOC{n:04}" for n in range(319)),
    "guids": tuple(f"{n * 2654435761 % 2**32:08x}-4c1d-4b7e-9d2a-{n * 40503 % 2**48:012x}" for n in range(1, 500)),
    "codes": tuple(f"{n * 7919 % 10**10:010}" for n in range(1, 500)),
    "colours": ("#FF8800", "#00AA55", "#1E90FF"),
    "notes": ("N/A", "migrated", "campaign-2025-Q3", "ref: lihat lampiran", "系統", "-"),
}
_FREE = {"people", "remarks", "words", "streets", "notes"}


@dataclass(frozen=True, slots=True)
class TextRule:
    """What a text column holds: a pool, and the shares of its rows that are filled and that are ``''``."""

    pool: str
    filled: float
    empty: float

    @property
    def free(self) -> bool:
        """Whether people type it, so that anything can be in it."""
        return self.pool in _FREE


#: The first pattern that is found in a column's name counts; the rest of the rows is NULL.
_RULES = tuple(
    (re.compile(pattern), TextRule(pool, filled, empty))
    for pattern, pool, filled, empty in (
        ("CUSTOM_|EXTEND|INTEGRATION|ADDITIONAL|MATRIX|MALL_|VALUE_", "notes", 0.06, 0.45),
        ("REMARK|REASON|DESCRIPTION|MESSAGE|PENDING|ECR_INFO|FILTERING", "remarks", 0.25, 0.35),
        ("EMAIL", "emails", 0.4, 0.2),
        ("CONTACT|TEL$|FAX|MOBILE|PHONE", "phones", 0.4, 0.3),
        ("COLOR", "colours", 0.7, 0.1),
        ("STREET|ADDRESS", "streets", 0.7, 0.2),
        ("CITY", "cities", 0.7, 0.2),
        ("STATE$", "states", 0.7, 0.2),
        ("COUNTRY", "countries", 0.7, 0.1),
        ("POSTCODE|ZIP", "postcodes", 0.5, 0.1),
        ("CURRENCY", "currencies", 0.9, 0.0),
        ("GUID|UUID|BINARYKEY|ROWLOCKING", "guids", 0.6, 0.1),
        ("STATUS", "statuses", 0.9, 0.02),
        ("NAME|RECIPIENT|PERSON|CASHIER$|_BY$|DBY$|USER", "people", 0.65, 0.2),
        ("TYPE|METHOD|CHANNEL|SOURCE|CATEGORY|GROUP|BRAND|UOM|TERM$", "kinds", 0.75, 0.15),
        ("LOCATION|OUTLET|BRANCH|SITE", "stores", 0.8, 0.1),
        ("ID$|NO$|CODE|REF|LOOK|SERIAL|NUMBER|CARD|SESSION|TIN$|_1$|_2$|_3$", "codes", 0.6, 0.25),
    )
)
_OTHER = TextRule("words", 0.4, 0.3)


def text_rule(column: str) -> TextRule:
    """Return what a text column of this name holds."""
    return next((rule for pattern, rule in _RULES if pattern.search(column)), _OTHER)
