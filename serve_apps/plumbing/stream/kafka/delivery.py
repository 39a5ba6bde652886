"""What becomes of messages that are handed to a producer."""

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Received


class Delivery:
    """Hears of each message, and tells whether brokers have written all of them."""

    def __init__(self) -> None:
        self._failed: KafkaError | None = None

    def __call__(self, error: KafkaError | None, message: Received) -> None:
        """Be told of one message."""
        if error is None and message.offset() is None:
            error = KafkaError(KafkaError.DUPLICATE_SEQUENCE_NUMBER, "delivered without an offset")
        self._failed = self._failed or error

    def of(self, producer: Producer, wait_s: float) -> None:
        """Wait until brokers have written every message, and raise a KafkaException where they haven't."""
        try:
            left = producer.flush(wait_s)
        except SystemError as error:  # the client raises a fatal error amid callbacks, which makes this of it
            raise (error.__cause__ if isinstance(error.__cause__, KafkaException) else error) from error
        if self._failed is not None:
            raise KafkaException(self._failed)
        if left:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "brokers didn't take it in time"))  # noqa: SLF001
