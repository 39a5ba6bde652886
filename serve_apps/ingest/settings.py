"""What ingest is told: validated, frozen; every field says unit, default and why."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tidegate.errors import FieldError, SettingsError, joined


class IngestSettings(BaseModel):
    """Arguments of the application."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Annotated[
        str,
        Field(
            min_length=1, description="folder of registry, quarantine and log; no default, because losing it matters"
        ),
    ]
    keys: Annotated[
        str,
        Field(min_length=1, description="file of the operators' API keys; no default, because nobody may do without"),
    ]
    log: Annotated[
        Literal["sqlite", "kafka"],
        Field(description="word; sqlite, because a cloud on one machine needs no broker; kafka for several machines"),
    ] = "sqlite"
    kafka: Annotated[
        str, Field(description="address of each broker, with commas between; empty, because the log is a file")
    ] = ""
    replicas: Annotated[
        int,
        Field(ge=1, le=9, description="brokers that hold each message; 3, because one may fail while another is down"),
    ] = 3
    partitions: Annotated[
        int,
        Field(
            ge=1, le=1_024, description="partitions of each topic; 8, because they are fixed for ever and cost little"
        ),
    ] = 8

    @model_validator(mode="after")
    def _addressed(self) -> Self:
        if (self.log == "kafka") != bool(self.kafka):
            raise ValueError('kafka: name the brokers where log is "kafka", and only there')
        return self


def ingest_settings(arguments: Mapping[str, Any]) -> IngestSettings:
    """Return validated settings.

    Raises:
        SettingsError: an argument is unknown, missing or out of bounds; each is named.
    """
    try:
        return IngestSettings.model_validate(arguments)
    except ValidationError as error:
        fields = tuple(FieldError(".".join(map(str, e["loc"])) or "ingest", e["msg"]) for e in error.errors())
        raise SettingsError(f"ingest: {joined(fields)}", fields=fields) from error
