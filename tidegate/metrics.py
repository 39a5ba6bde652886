"""The catalogue of metric names: what a site counts, each with its meaning."""

from typing import Final, Literal

MetricName = Literal[
    "tidegate_decisions_total",
    "tidegate_decision_seconds",
    "tidegate_replayed_total",
    "tidegate_refused_total",
    "tidegate_labels_total",
    "tidegate_flush_seconds",
    "tidegate_explained_total",
    "tidegate_explanations_dropped_total",
    "tidegate_explaining_seconds_total",
    "tidegate_cards",
    "tidegate_evictions_total",
    "tidegate_late_events_total",
    "tidegate_sandbox_total",
    "tidegate_journal_used_ratio",
    "tidegate_epoch",
    "tidegate_clock_behind_seconds",
    "tidegate_mode",
]
MEANINGS: Final[dict[MetricName, str]] = {
    "tidegate_decisions_total": "Decisions made and durable, by outcome.",
    "tidegate_decision_seconds": "Time of a decision: verify, decide (features to append), journal, total; batch.",
    "tidegate_replayed_total": "Retries that were answered with their first answer.",
    "tidegate_refused_total": "Requests refused, by error code.",
    "tidegate_labels_total": "Labels applied, by verdict.",
    "tidegate_flush_seconds": "Time of one flush of the journal to the disk.",
    "tidegate_explained_total": "Decisions but approvals, by the feature that raised the risk most.",
    "tidegate_explanations_dropped_total": "Decisions but approvals whose reasons wait for who asks: too many at once.",
    "tidegate_explaining_seconds_total": "Time of the gate that reasons took.",
    "tidegate_cards": "Cards whose history the site holds.",
    "tidegate_evictions_total": "Cards and terminals forgotten at the bound.",
    "tidegate_late_events_total": "Payments older than the feature windows.",
    "tidegate_sandbox_total": "Answers forced by test cards, which count nowhere else.",
    "tidegate_journal_used_ratio": "Share of the journal's bound in use, 0 to 1.",
    "tidegate_epoch": "Number of the journal's epoch, by why it began: restored and damaged are alarms.",
    "tidegate_clock_behind_seconds": "How far the machine's clock is behind the highest time seen.",
    "tidegate_mode": "Mode of the latest decision: 0 fresh, 1 aging, 2 stale, 3 blind.",
}
STAGES: Final = ("verify", "decide", "journal", "total")
LATENCY_BUCKETS_S: Final = (
    0.00001,
    0.00002,
    0.00005,
    0.0001,
    0.0002,
    0.00025,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.05,
    0.25,
    1.0,
)
