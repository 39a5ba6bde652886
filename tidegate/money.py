"""Money is an integer of minor units and an ISO 4217 code; no float exists."""

from dataclasses import dataclass
from typing import Final

_ZERO_DECIMALS: Final = frozenset(
    """BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF""".split()  # noqa: SIM905 - a table is easier to check than a list
)
_THREE_DECIMALS: Final = frozenset(
    """BHD IQD JOD KWD LYD OMR TND""".split()  # noqa: SIM905 - a table is easier to check than a list
)
_TWO_DECIMALS: Final = frozenset(
    """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP
    CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR
    IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN
    NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP
    STN SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST YER ZAR ZMW""".split()  # noqa: SIM905 - a table is easier to check than a list
)
CURRENCIES: Final = _ZERO_DECIMALS | _TWO_DECIMALS | _THREE_DECIMALS
"""The active ISO 4217 codes that people pay with."""


def decimals(currency: str) -> int:
    """Return the number of decimals of a currency's minor unit (ISO 4217 table A.1).

    Raises:
        ValueError: the code is not one of `CURRENCIES`.
    """
    if currency not in CURRENCIES:
        raise ValueError(f"currency: {currency!r} is no ISO 4217 code that people pay with")
    if currency in _ZERO_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of a currency, in minor units."""

    minor: int
    currency: str

    def __str__(self) -> str:
        places = decimals(self.currency)
        if not places:
            return f"{self.minor} {self.currency}"
        sign = "-" if self.minor < 0 else ""
        whole, part = divmod(abs(self.minor), 10**places)
        return f"{sign}{whole}.{part:0{places}d} {self.currency}"
