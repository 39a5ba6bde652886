"""A column mapping: where each field of a payment comes from in somebody's Parquet or CSV file."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tidegate.errors import PermanentError


class DatasetError(PermanentError):
    """A data file or its mapping is wrong; the message names file, field or column, and row (the first is 1)."""

    code = "DATASET_INVALID"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Column(_Part):
    """A text of a column; `prefix` goes before each value."""

    column: str
    prefix: str = ""


class Constant(_Part):
    """The same text in each row."""

    constant: str


class SameAs(_Part):
    """The text of another field."""

    same_as: Literal["terminal"]


class Time(_Part):
    """A time of a column, in its unit; a `timestamp` column knows its own, and is UTC where it names no zone."""

    column: str
    unit: Literal["seconds", "milliseconds", "microseconds", "rfc3339", "timestamp"]


class AmountColumn(_Part):
    """An amount: `major` has at most two decimals, `minor` is an integer; 0 is refused or counts as `zero_as_minor`."""

    column: str
    unit: Literal["major", "minor"]
    zero_as_minor: Annotated[int, Field(ge=1)] | None = None


class Flag(_Part):
    """A column of 0 and 1, or false and true."""

    column: str


class Delay(_Part):
    """Known so many days after the payment."""

    delay_days: Annotated[int, Field(ge=0)]


Text: TypeAlias = Column | Constant


class Columns(_Part):
    """Where each field of a payment comes from."""

    transaction_id: Column
    occurred: Time
    amount: AmountColumn
    currency: Text
    card: Column
    terminal: Text
    merchant: Text | SameAs
    channel: Text
    country: Text | None = None
    mcc: Text | None = None
    entry_mode: Text | None = None
    device: Text | None = None
    site: Text | None = None
    outcome: Column | None = None
    fraud: Flag
    fraud_kind: Column | None = None
    label_known: Time | Delay
    label_corrected: Time | None = None


class Mapping(_Part):
    """A mapping file: the format, where each field comes from, and which columns are left out and why."""

    format: Literal["parquet", "csv"]
    columns: Columns
    ignore: dict[str, str] = {}

    def used(self) -> set[str]:
        """Return the names of the file's columns that fields come from."""
        fields = (getattr(self.columns, name) for name in Columns.model_fields)
        return {field.column for field in fields if hasattr(field, "column")}


def load_mapping(path: Path) -> Mapping:
    """Read a mapping file.

    Raises:
        DatasetError: it can't be read, isn't TOML, or a field is wrong.
    """
    try:
        return Mapping.model_validate(tomllib.loads(path.read_text()))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DatasetError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DatasetError(f"{path}: {field}: {first['msg']}") from error
