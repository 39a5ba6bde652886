"""Settings of a cloud: one TOML file for all of its applications, validated, frozen; every field says unit and why.

Whoever deploys reads the file; each application gets its own part, with the place of its data, as Serve's arguments.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tidegate.errors import FieldError, SettingsError, joined
from tidegate.limits import ARCHIVE_FILES_MAX, ARCHIVE_RETENTION_DAYS, DAY_US, LOG_PARTITIONS_MAX, REPLAY_WINDOW_US


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LogSettings(_Section):
    """What carries frames from ingest to whoever reads them."""

    kind: Annotated[
        Literal["sqlite", "kafka"],
        Field(description="word; sqlite, because a cloud on one machine needs no broker; kafka for several machines"),
    ] = "sqlite"
    brokers: Annotated[
        str,
        Field(description="address (host:port) of each broker, with commas between; empty, because the log is a file"),
    ] = ""
    replicas: Annotated[
        int,
        Field(ge=1, le=9, description="brokers that hold each message; 3, because one may fail while another is down"),
    ] = 3
    partitions: Annotated[
        int,
        Field(
            ge=1,
            le=LOG_PARTITIONS_MAX,
            description="partitions of each topic; 8, because they are fixed for ever and cost little",
        ),
    ] = 8
    client: Annotated[
        str,
        Field(
            description="TOML file of what librdkafka is told besides, such as security.protocol and sasl.password, "
            "readable by its owner alone; empty, because brokers in a network of their own need none"
        ),
    ] = ""

    @model_validator(mode="after")
    def _addressed(self) -> Self:
        if (self.kind == "kafka") != bool(self.brokers):
            raise ValueError('log.brokers: name them where log.kind is "kafka", and only there')
        if self.client and self.kind != "kafka":
            raise ValueError('log.client: means something only where log.kind is "kafka"')
        return self


class IngestOptions(_Section):
    """How ingest commits what sites send."""

    committers: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            description="committers, among which sites are shared out by their names; 1, because one commits more than "
            "a machine takes in; several let a broker work on several commits at a time; fixed when the log is made",
        ),
    ] = 1


class ArchiveOptions(_Section):
    """How the archive keeps its tables."""

    retention_days: Annotated[
        int,
        Field(
            ge=-(-REPLAY_WINDOW_US // DAY_US),
            le=3_650,
            description="days for which each version of the tables can be read; 90, because a training's and a "
            "backtest's stay readable for a quarter; rows are never removed",
        ),
    ] = ARCHIVE_RETENTION_DAYS
    merge_files: Annotated[
        int,
        Field(
            ge=2,
            le=1_024,
            description="small files of one day before they are merged; 64, because each costs a reader a millisecond",
        ),
    ] = ARCHIVE_FILES_MAX


class FeaturesOptions(_Section):
    """Where the states of cards are kept, of which gates get what other sites did."""

    redis: Annotated[
        str,
        Field(
            description="address (redis://host:port/0, rediss:// or unix://) of a Redis that evicts nothing; empty, "
            "because a cloud on one machine counts its log up again at each start"
        ),
    ] = ""
    redis_password: Annotated[
        str, Field(description="file of its password; empty, because a Redis in a network of its own needs none")
    ] = ""

    @model_validator(mode="after")
    def _reached(self) -> Self:
        if self.redis_password and not self.redis:
            raise ValueError("features.redis_password: means something only beside features.redis")
        return self


class ModelsOptions(_Section):
    """How the catalogue of what sites should have is signed."""

    signing_keys: Annotated[
        str,
        Field(
            description="folder of the private keys that sign, readable by their owner alone; empty, because a cloud "
            "on one machine has them beside its registry"
        ),
    ] = ""
    root_threshold: Annotated[
        int,
        Field(
            ge=1,
            le=9,
            description="keys that must sign a root; 1, because one operator starts alone; fixed when the catalogue is "
            "made",
        ),
    ] = 1


class CloudSettings(_Section):
    """Everything a cloud is told."""

    log: LogSettings = LogSettings()
    ingest: IngestOptions = IngestOptions()
    archive: ArchiveOptions = ArchiveOptions()
    features: FeaturesOptions = FeaturesOptions()
    models: ModelsOptions = ModelsOptions()


class _Application(_Section):
    data_dir: Annotated[
        str, Field(min_length=1, description="folder of all that is kept; no default, because losing it matters")
    ]
    keys: Annotated[
        str,
        Field(min_length=1, description="file of the operators' API keys; no default, because nobody may do without"),
    ]
    log: LogSettings = LogSettings()


class IngestSettings(_Application, IngestOptions):
    """Arguments of ingest."""


class ArchiveSettings(_Application, ArchiveOptions):
    """Arguments of the archive."""


class FeaturesSettings(_Application, FeaturesOptions):
    """Arguments of features."""


class ModelsSettings(_Application, ModelsOptions):
    """Arguments of models."""


M = TypeVar("M", bound=BaseModel)


def checked(model: type[M], told: Mapping[str, Any], *, name: str) -> M:
    """Return validated settings; `name` says where they came from.

    Raises:
        SettingsError: a field is unknown, missing or out of bounds; each is named.
    """
    try:
        return model.model_validate(told)
    except ValidationError as error:
        fields = tuple(
            FieldError(".".join(map(str, e["loc"])) or name, e["msg"].removeprefix("Value error, "))
            for e in error.errors()
        )
        raise SettingsError(f"{name}: {joined(fields)}", fields=fields) from error
