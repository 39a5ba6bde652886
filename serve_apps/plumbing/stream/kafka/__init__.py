"""The log in Apache Kafka, for a cloud of several machines, with confluent-kafka's blocking clients.

A committer is a transactional producer: its messages and its cursors are one transaction, and opening it anew ends what
the one before left undone. Cursors lie in a compacted topic of the committer's own, so that nobody else's transaction
hides their end; how far consumers are lies in another one, `PREFIX.consumers`.

After a commit was asked for, an error leaves its outcome unknown, whatever the client makes of it: the broker may have
written it down before it was lost sight of.

Brokers from 4.1 on may forget to mark in the topics that a transaction was committed, where they are killed right after
it (KAFKA-20734, Apache Kafka). A committer whose table holds such a one is not opened: docs/operating.md.

One request at a time is in flight to a broker. With more, librdkafka 2.16 loses messages in a partition that the broker
knows no producer of: where the first request has to be sent again, a later one is taken for the first, and the repeated
one for a duplicate, which counts as delivered. That also shows in a delivery without an offset, which is refused.
"""
