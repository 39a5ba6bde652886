"""Every bound of the system, each with its unit in the name and its reason, and the relations that must hold.

A number that limits memory, disk, time, retries or sizes stands here and nowhere else; sizes that follow from a
layout (a ring of buckets, a record) stand beside that layout.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US

# --- Identities: printable ASCII of fixed width, so that a run of records is a set of columns. ---
TRANSACTION_ID_BYTES_MAX: Final = 64  # a UUID is 36; room for a caller's own prefix
TOKEN_BYTES_MAX: Final = 64  # card and device tokens of the known vaults are 16 to 40
NAME_BYTES_MAX: Final = 32  # terminals, merchants and sites are named by people
LABEL_ID_BYTES_MAX: Final = 64  # made by the source of the label: a UUID or a case number

# --- Money. ---
AMOUNT_MINOR_MAX: Final = 100_000_000  # a million in a two-decimal currency: above it a till has a fault

# --- Time. ---
OCCURRED_AHEAD_US_MAX: Final = 60 * SECOND_US  # a device's clock drifts by seconds; a minute is generous
OCCURRED_BEHIND_US_MAX: Final = 7 * DAY_US  # a site may be cut off for seven days and then hand in what it has
OCCURRED_BEHIND_US_REFUSED: Final = 400 * DAY_US  # older than any dispute window: a wrong clock, not a late payment
EVENT_STEP_US_MAX: Final = 40 * DAY_US  # how far one payment moves a clock of events: all windows are empty by then
CLOCK_STEP_BACK_US_TOLERATED: Final = 5 * SECOND_US  # NTP slews below this; a larger step is somebody's hand

# --- The door. ---
HEAD_BYTES_MAX: Final = 32 * KIB  # a request line and headers; proxies add a few hundred bytes
BODY_BYTES_MAX: Final = 64 * KIB  # a decision is 0.5 KiB
CONNECTIONS_MAX: Final = 1_000  # tills and apps of a site, with room; below the files a process may open by default
CONNECTION_IDLE_S_MAX: Final = 30.0  # between payments a till keeps its connection; who says nothing at all is cut, too
BODY_S_MAX: Final = 5.0  # a body comes in one or two packets: whoever takes longer holds the place of another
BATCH_ITEMS_MAX: Final = 1_000  # one batch keeps the loop busy for about 50 ms
BATCH_BODY_BYTES_MAX: Final = 1 * MIB  # a thousand decisions of the largest permitted size
PAGE_ITEMS_MAX: Final = 200  # a page is built while no decision is made: about 4 ms
PAGE_SCAN_RECORDS_MAX: Final = 4_096  # a filter that matches nothing still answers within about 10 ms
INFLIGHT_REQUESTS_MAX: Final = 4_096  # beyond it the door answers 503 at once instead of queueing without end
API_KEYS_MAX: Final = 10_000  # a site has tills, not customers
LIVE_RECENT_ITEMS: Final = 50  # what the live page shows at a time

# --- Deadlines that callers set. ---
DEADLINE_MS_MAX: Final = 60_000  # a till that waits a minute has lost its payer
DEADLINE_FLUSH_READINGS: Final = 512  # five of them are above the 99th percentile, so one hiccup moves nothing
DEADLINE_FLUSH_RENEWED: Final = 64  # sorting the readings takes 20 µs: not at each request

# --- The client. ---
CLIENT_PATIENCE_S: Final = 30.0  # a site's restart is over by then, and so is a payer's patience
CLIENT_ATTEMPT_S: Final = 5.0  # five thousand times a decision: the connection is dead
CLIENT_ATTEMPTS_MAX: Final = 12  # with the delays below the patience ends first
CLIENT_RETRY_DELAY_S_MIN: Final = 0.05
CLIENT_RETRY_DELAY_S_MAX: Final = 5.0
CLIENT_CONNECTIONS_MAX: Final = 100  # a client's own; a site takes more

# --- The sandbox. ---
SANDBOX_LATE_S: Final = 30.0  # longer than callers wait for an answer, shorter than a test that waits for it

# --- The gate's own life. ---
GATE_RESTARTS_MAX: Final = -1  # no bound: nobody stands beside a site, and each restart waits as below
UPLINK_RESTARTS_MAX: Final = -1  # no bound, as for the gate
GATE_RESTART_DELAY_S: Final = 1.0  # callers get their 503 meanwhile, and a disk that stays broken isn't hammered
DOOR_CLOSE_S_MAX: Final = 5  # whole seconds: a decision under way takes a thousandth of that
SERVED_HEALTH_S: Final = 1.0  # how soon Ray Serve sees that a gate's process ended: callers get errors until then
SERVED_STOP_S_MAX: Final = 10.0  # checkpoint and flush of a full window, with room; Serve kills what takes longer
DOOR_TAKEN_S_MAX: Final = 5.0  # a caller that dials while the door is shut may hold the very port for a moment

# --- The journal. ---
SEGMENT_BYTES: Final = 16 * MIB  # large enough to make sealing rare, small enough to ship and compress whole
SEGMENT_BYTES_MAX: Final = 256 * MIB  # what a locator has room for
SEGMENT_BYTES_MIN: Final = 64 * KIB  # tests and simulations use small ones
RECORD_BODY_BYTES_MAX: Final = 1 * MIB  # a list or a configuration in full is the largest body
JSON_DEPTH_MAX: Final = 64  # of an event or a manifest: ten times a policy's; a parser's own end lies near a thousand
APPEND_BYTES_MAX: Final = 2 * MIB  # records of one decision, or one list, under one checksum
JOURNAL_BYTES_MAX: Final = 8 * 1024 * MIB  # about 12 million decisions; configurable
JOURNAL_RESERVE_BYTES: Final = 2 * SEGMENT_BYTES  # kept free, so that acknowledging and sealing work on a full disk
COMMIT_PENDING_BYTES_MAX: Final = 8 * MIB  # what may wait for one flush; beyond it the gate answers 503
LOST_RANGES_TOLD_MAX: Final = 100  # they fit one append of the smallest segment; beyond it the last covers the rest

# --- Idempotency. ---
IDEMPOTENCY_AGE_US: Final = 8 * DAY_US  # a day more than the longest cut, so that a late retry still finds its answer
ANSWERS_AGE_US: Final = 40 * DAY_US  # as far back as a label still counts: it finds its payment by the same index
ANSWERS_MAX: Final = 5_000_000  # ids: eight days at seven decisions a second; 160 MiB
ANSWERS_GENERATIONS: Final = 5  # forgetting a generation forgets a fifth of the ids at once

# --- The tide. ---
TIDE_RANGES_MAX: Final = 256  # of one lane of one epoch, apart from each other: each cut and restart leaves one at most
TIDE_RANGE_NOTED_BYTES: Final = 180  # two numbers of 20 digits, two hashes in hex digits, and their signs
TIDE_EPOCH_NOTED_BYTES: Final = 4 * KIB  # of an epoch beside its ranges and borders: claims, versions at their longest
TIDE_LOOK_NOTED_BYTES: Final = 6 * KIB  # of one look at an alarm: its reason in letters that JSON escapes
TIDE_EPOCHS_MAX: Final = 256  # of one site, kept for ever: each is a disk lost, or an older copy put back
TIDE_TEXTS_MAX: Final = 16_384  # of one site, for each committer: lists changed ten times a day for four years
TIDE_BORDERS_KEPT: Final = 16  # running hashes at single records that a second copy of a range is held against
TIDE_AHEAD_US: Final = (
    DAY_US  # a record's time beyond now by more is counted: a clock that is ahead, or somebody's joke
)
TIDE_PAST_US: Final = 18_262 * DAY_US  # 2020-01-01: a record's time before it is counted: a clock that was never set
TIDE_GAP_AGE_US: Final = 60 * SECOND_US  # what was claimed longer ago and is not there is a gap: six heads
TIDE_CASES_MAX: Final = 10_000  # frames in quarantine; a site that is broken makes one a minute and lane
TIDE_CASES_BYTES_MAX: Final = 1024 * MIB  # of them together
TIDE_ALARM_LOOKS_KEPT: Final = 16  # of one epoch: who has looked at its alarms
TIDE_REFUSALS_MAX: Final = 10_000  # in whose name and why; as many again that no site's key vouches for
TIDE_REFUSALS_HELD_MAX: Final = 1_000  # of them in memory, on their way to the disk
TIDE_REFUSALS_WRITTEN_US: Final = SECOND_US  # no more often: whoever sends rubbish costs no write for each piece of it
TIDE_SITES_MAX: Final = 10_000  # names in the registry; each with its keys is half a KiB, and a page shows a hundred
TIDE_SITE_KEYS_MAX: Final = 1_024  # of one site, kept for ever, so that old frames can be proven: a rotation a week
TIDE_TOKEN_US: Final = DAY_US  # how long it may be used: made by one person in the morning, used by another by night
TIDE_OVERLAP_US: Final = 8 * DAY_US  # a replaced key signs on: a day more than the longest cut
TIDE_WHY_CHARS_MAX: Final = 400  # of a revocation: two sentences
TIDE_ENROLMENT_BYTES_MAX: Final = 4 * KIB  # a body of enrolment, rotation, revocation: half a KiB, and a long reason
TIDE_SPANS_TOLD_MAX: Final = 100  # of a lane, to a person; more say the same
INGEST_PENDING_BYTES_MAX: Final = 64 * MIB  # what may wait for commits: eight of the largest, a second or two
TIDE_QUANTUM_BYTES: Final = 32 * KIB  # a turn of the least lane: a few live frames, a tenth of one of the backlog
TIDE_POLL_S: Final = 0.1  # how long a record waits for the next look at the journal: below the 250 ms promised
TIDE_PASSAGE_BYTES_MAX: Final = 4 * MIB  # what is read for a frame: 4,096 decisions are 2.7
TIDE_LIVE_BEHIND_MAX: Final = 16_384  # four full frames: where live records wait for more, they are a backlog
TIDE_HELD_MAX: Final = 64  # spans of a lane that the cloud didn't want; more, and the oldest are offered again
TIDE_HELD_US: Final = 10 * MINUTE_US  # until somebody may have looked
TIDE_HEAD_EVERY_US: Final = 10 * SECOND_US  # how late the cloud learns what it doesn't have
TIDE_SAVE_EVERY_US: Final = 5 * SECOND_US  # the journal is trimmed in segments, which take minutes to fill
TIDE_TOLD_EVERY_US: Final = SECOND_US  # how often an uplink says how it does: as often as a page asks
TIDE_LOOKS_KEPT: Final = 512  # at what was durable when: a cut is dated to within a five-hundredth of its length
TIDE_REQUEST_US: Final = 300_000  # what a request should take: live records wait for one at most, and go with the next
TIDE_REQUEST_BYTES_MIN: Final = 64 * KIB  # a slow line's: live frames of a site and a part of its backlog
TIDE_TIMEOUT_S: Final = 20.0  # a full request over a line of 2 Mbit/s; a black hole is found out then
TIDE_ANSWER_BYTES_MAX: Final = 2 * MIB  # the ranges of a site that was cut off a thousand times are a tenth of it
HOUSE_BYTES_MAX: Final = 3_584 * MIB  # a cloud of four applications and two sites, idle: a laptop of 8 GiB can spare it
RELAY_CHUNK_BYTES: Final = 64 * KIB  # what is read at a time, and waits at the most: a relay only hands on
RELAY_CONNECTIONS_MAX: Final = 16  # of one site's way to the cloud: an uplink has one, and leaves some to time out
WAN_ORDER_BYTES_MAX: Final = 4 * KIB  # one order: a word and a name
WAN_ORDER_S_MAX: Final = 10.0  # it changes a word in memory; a machine that swaps may take seconds
TIDE_REFUSED_S: Final = 60.0  # a person has to change something: ask once a minute
TIDE_RETRY_US_MIN: Final = 200_000  # the first try after a failure: most cuts are a lost packet
TIDE_RETRY_US_MAX: Final = 60 * SECOND_US  # a thousand sites that come back are some twenty a second
TIDE_RETRY_MS_MAX: Final = TIDE_RETRY_US_MAX // 1_000  # what the cloud may ask for

# --- What a machine must have for a site, as `tidegate doctor` judges it. ---
FLUSH_P50_US_BUDGET: Final = 150  # of the 250 that a decision has at its median, deciding takes the rest
FLUSH_P99_US_BUDGET: Final = 800  # of the thousand that it has at its 99th percentile
FLUSH_P50_US_MAX: Final = 20_000  # a till shows a delay; a disk that turns takes 8,000, so this one is worse
FLUSH_P99_US_MAX: Final = 250_000  # callers with a deadline give up
FLUSH_PROBES: Final = 256  # the 99th percentile isn't the slowest one then
FLUSH_PROBE_US_MAX: Final = 3 * SECOND_US  # a broken disk isn't waited for longer, and three seconds tell enough
SITE_BASE_BYTES: Final = 1024 * MIB  # Ray's processes 450 MiB, its object store 200, code and numbers of the gate 300
ANSWERS_BYTES: Final = 160 * MIB  # ANSWERS_MAX ids in an index
DASHBOARD_S_MAX: Final = 3.0  # Ray's own dashboard answers within milliseconds, a busy machine's within a second

# --- Feature state. ---
CARDS_MAX: Final = 100_000  # cards a site has seen lately; configurable, 1 KiB each
TERMINALS_MAX: Final = 4_096  # terminals of one site, with room
CHECKPOINT_EVERY_RECORDS: Final = 200_000  # replaying this many takes about two seconds at a start
CHECKPOINTS_KEPT: Final = 2  # the newest may be damaged by the very crash it is needed for

# --- Labels. ---
LABELS_POSTED_MAX: Final = 1_000_000  # whose ids the cloud knows, oldest forgotten first; 100 MB on its disk
LABELS_WAITING_MAX: Final = 4_096  # posted in the cloud, and not committed yet; a commit takes a third of them
LABELS_MAX: Final = 100_000  # remembered for corrections, oldest forgotten first: 2 % of the ids above; 70 MiB

# --- Lists and bundles. ---
LIST_ENTRIES_MAX: Final = 500_000  # 100 MiB in memory; the journal names a set, whose text stands beside it
LIST_LINE_CHARS_MAX: Final = 512  # list, entity, token, date, rule: under 200
LIST_ERRORS_TOLD_MAX: Final = 20  # more would be the same mistake again
LISTS_BYTES_MAX: Final = 64 * MIB  # the text of the largest set
LISTS_S_MAX: Final = 60.0  # a set of the largest size over a slow line
LISTS_KEPT: Final = 32  # sets behind the active one, so that decisions made under them can be replayed
LISTS_KEPT_SMALL: Final = 1_024  # of small ones: a day's single entries mustn't push out last month's set
LISTS_KEPT_SMALL_BYTES: Final = 256 * MIB  # what is small, all together: a tenth of what as many full sets take
LIST_CHANGES_MAX: Final = 1_000  # entries of one change: more is a load
BUNDLES_KEPT: Final = 3  # the active one and two to go back to
BUNDLES_NAMED_MAX: Final = 64  # more that the journal's decisions name, for their replay: a year of weekly ones
TREES_MAX: Final = 2_000  # beyond it a score takes more than the whole budget of a decision
TREE_NODES_MAX: Final = 1_000_000
GOLDEN_ROWS: Final = 256  # enough to reach most leaves of a hundred trees

# --- The policy. ---
POLICY_BYTES_MAX: Final = 256 * KIB  # 64 rules of the largest permitted size are 60 KiB
POLICY_DAY_ROWS_MAX: Final = 50_000  # latest decisions that a new policy is tried on: 40 MB, a quarter of a second
RULES_MAX: Final = 64  # a bit each in a decision's record
RULE_CHARS_MAX: Final = 512  # a rule that needs more is two rules
RULE_DEPTH_MAX: Final = 32  # parentheses within each other: nobody reads more
RULE_TEXT_TESTS_MAX: Final = 64  # a bit each; long enumerations of tokens belong on a list
RULE_TEXT_CHARS_MAX: Final = 200  # a sentence that says why
RULES_P99_US_MAX: Final = 60.0  # all of them: a quarter of what a decision may take
BRAKE_DECLINES_MAX: Final = 1_000  # the times of so many are remembered for each rule: 64 of them are 2 MiB
BRAKE_MINUTES_MAX: Final = 7 * 24 * 60  # a week: somebody has looked by then
FLOOR_HOURS_MAX: Final = 10 * 365 * 24  # a step that is never reached

# --- Reasons. ---
EXPLAINED_FEATURES_DEFAULT: Final = 8  # more than that nobody reads
EXPLAINED_PLAINLY_MAX: Final = 4  # as many principal reasons as notices of adverse action give (Regulation B, 1002.9)
EXPLANATIONS_PENDING_MAX: Final = 1_024  # not approved and not explained yet; beyond it the oldest are left to who asks
EXPLANATIONS_KEPT: Final = 1_024  # of the latest not approved, for the live page: below 1 MiB
EXPLAIN_PAUSE_S: Final = 0.05  # between two rounds; a person reads a reason seconds later
EXPLAIN_ROUND_S: Final = 0.0025  # so long a round goes on beginning another one; each takes a quarter of a millisecond
EXPLAIN_SHARE_MAX: Final = 0.05  # of the gate's time: a round that took longer is followed by a longer pause
ATTRIBUTION_DEPTH_MAX: Final = 64  # ten times a usual tree's: each node looks up as far, once a model
ATTRIBUTION_CELLS_MAX: Final = 4_000_000  # nodes times points: 130 MB of tables, and 200 times a usual model

# --- Training jobs. ---
JOB_DAYS_MAX: Final = 3_660  # ten years of generated payments: more would be made for days
JOB_CARDS_MAX: Final = 1_000_000  # of the generator; a table of them takes a gigabyte
JOB_WEEKS_MAX: Final = 52  # a model each: a year of them takes an hour
JOB_THREADS_MAX: Final = 256
JOB_SEED_MAX: Final = 2**31 - 1  # as XGBoost takes it
TRIALS_MAX: Final = 200  # of one search: more find what these weeks, not the next ones, happen to like
SUBMIT_ATTEMPTS_MAX: Final = 60  # a minute: a cluster's job agent comes up seconds after the rest of it
SUBMIT_PAUSE_S: Final = 1.0

# --- A cloud's own authority. ---
AUTHORITY_DAYS: Final = 365  # sites are handed its file by a person: once a year is seldom, ten years is for ever
CERTIFICATE_DAYS: Final = 90  # of a server, as public authorities have it; made anew when a third is left
AUTHORITY_EARLY_MINUTES: Final = 60  # a certificate is valid before it is made: clocks differ

# --- The cloud's log. ---
LOG_MESSAGE_BYTES_MAX: Final = 960 * KIB  # a frame of the largest size with room; a Kafka client takes 1,000,000 untold
LOG_COMMIT_BYTES_MAX: Final = 8 * MIB  # nine of the largest frames: a commit takes a fraction of a second
LOG_COMMIT_MESSAGES_MAX: Final = 10_000  # messages and cursors: a commit of small live frames of a thousand sites
LOG_KEY_BYTES_MAX: Final = 256  # site, gate and epoch with their signs are under 120
LOG_NAME_CHARS_MAX: Final = 120  # half of what Kafka takes for a topic, since names of our own are put before some
LOG_PARTITIONS_MAX: Final = 1_024  # each costs its readers a fetch, and the log a place
LOG_CURSOR_NAME_BYTES_MAX: Final = 256  # site, gate, epoch and lane
LOG_CURSOR_BYTES_MAX: Final = 512 * KIB  # an epoch whose lanes, and those of its fork, have all ranges they may have
LOG_CURSORS_MAX: Final = 200_000  # of one committer: held in memory, 40 MiB at their usual size
LOG_ASK_S_MAX: Final = 10.0  # a broker that was restarted is back by then
LOG_COMMIT_S_MAX: Final = 10.0  # for each half of a commit: messages written, and their transaction ended
LOG_TRANSACTION_S_MAX: Final = 25.0  # above both halves; so long a committer that died may hold its readers back
LOG_OPEN_S_MAX: Final = 30.0  # what the writer before left undone is over by then
LOG_AHEAD_BYTES: Final = 4 * MIB  # fetched of one partition before it is asked for
LOG_SEGMENT_BYTES: Final = 128 * MIB  # how much a Kafka log gives back at a time
LOG_TABLE_SEGMENT_BYTES: Final = 16 * MIB  # of cursors, how much is written before the old ones are compacted
LOG_BUSY_S_MAX: Final = 5.0  # a SQLite log is written and trimmed in milliseconds: whoever waits longer is told
LOG_POLL_S: Final = 0.01  # how soon a waiting reader of a SQLite log sees a commit; looking takes 20 µs
LOG_CHECKED_BYTES_MAX: Final = 256 * MIB  # a SQLite log up to here is walked whole when opened: a quarter second
LOG_WAL_BYTES: Final = 32 * MIB  # written ahead before a SQLite log takes it to its place; four of the largest commits
LOG_TRIM_MESSAGES: Final = 64  # dropped in one step: a committer waits for no more

# --- Backtests. ---
BACKTEST_BATCH_ROWS: Final = 65_536  # 45 MB as rows; what a batch costs beside its rows doesn't show any more
BACKTEST_PART_ROWS: Final = 500_000  # a second or two of work: progress is seen, and a lost task costs little
BACKTEST_PARTS_MAX: Final = 64  # of a range: more would only add starts
BACKTEST_TASKS_MAX: Final = 64  # at a time, each below 600 MiB
BACKTEST_CARDS_MAX: Final = 100_000  # newly declined good cards that are told apart: 20 MB; nobody reads more
BACKTEST_EXAMPLES: Final = 10  # of each kind: what a person looks up before activating a policy

# --- Frames: what a site sends up. ---
FRAME_BYTES_MAX: Final = 900 * KIB  # a message of Kafka may have 1 MiB by default, its own head included
FRAME_RECORDS_MAX: Final = 4_096  # 0.4 MiB of decisions, 15 ms of the cloud: larger ones are hardly smaller a record
FRAME_CANONICAL_BYTES_MAX: Final = 8 * MIB  # three times as many decisions as fit: room for events
FRAME_HEADER_BYTES_MAX: Final = 4 * KIB  # of frames and heads: all fields at their longest are 3 KiB
FRAME_COLUMNS_BYTES_OVER: Final = 64 * KIB  # columns beyond their records: metadata, padding, bitmaps of some writers
FRAME_METADATA_BYTES_MAX: Final = 32 * KIB  # what says where 41 columns are takes 3 KiB, what they are called 5
FRAMES_BODY_BYTES_MAX: Final = 4 * MIB  # of one request: four frames of the largest size, a dozen of decisions
FRAMES_BODY_FRAMES_MAX: Final = 256  # of one request: of one record each they are a quarter second of the cloud
HEAD_VERSIONS_MAX: Final = 16  # bundle, lists, policy, configuration, release, and what else joins them
HEAD_VERSION_CHARS_MAX: Final = 64  # a SHA-256 in hex digits

# --- Texts that records name by digest, on their way up. ---
ARTIFACT_PART_BYTES: Final = (
    64 * KIB
)  # of a set of lists at a time: live records wait no longer for it than for a frame
ARTIFACT_MANIFEST_BYTES_MAX: Final = 512 * KIB  # a bundle's, in one part: 6 KiB, and a policy of the largest size
ARTIFACT_BYTES_MAX: Final = LISTS_BYTES_MAX  # the largest text that a record can name
ARTIFACT_PARTS_MAX: Final = ARTIFACT_BYTES_MAX // ARTIFACT_PART_BYTES + 1  # a cut makes way for a letter of four bytes
ARTIFACTS_STAGED_BYTES_MAX: Final = 128 * MIB  # parts that wait for their last one; above it the idlest begin anew
TIDE_CUT_US: Final = 30 * SECOND_US  # a text that nobody went on with for so long is begun anew, cut otherwise
ARTIFACT_AGAIN_US: Final = DAY_US  # so often a site offers what it has: a cloud may have been restored from a copy
ARTIFACT_HELD_US: Final = HOUR_US  # what the cloud refused, or is too old to take, is offered again

# --- Deltas: what sites did to cards, on its way to all of them. ---
DELTA_BATCH_BYTES_MAX: Final = 512 * KIB  # canonical: 1,300 rows, 3 to 4 ms of a gate's time; a tenth of it compressed
DELTA_PACK_BYTES: Final = 4 * MIB  # of batches that a gate keeps: so much a start holds while it counts them again
DELTA_PACKS_MAX: Final = 256  # 1 GiB: of small fleets all that the replay window asks for, of the busiest two days
OVERLAY_CHECKPOINT_BATCHES: Final = 4_000  # as long as a start may take to count them again: four seconds
OVERLAY_NOTED_US: Final = MINUTE_US  # an idle fleet's overlay is noted as current that often: 250 KB a day
OVERLAY_RECENT_US: Final = 10 * MINUTE_US  # ten notes missed; the shortest window of a card's features is as long
LABELS_AT_ONCE: Final = 16  # posted in the cloud, applied between two decisions: half a millisecond
OVERLAY_CHECKPOINT_ROWS: Final = 500_000  # of those batches: two checkpoints need no more than a half of what is kept
DELTA_BATCH_AGE_US: Final = 250_000  # a use counts elsewhere within three seconds: a twelfth of them waits here
DELTA_COMMIT_BATCHES: Final = 4  # in one commit: as many rows as a full frame of decisions may become
DELTA_AHEAD_US: Final = DAY_US  # of its commit: a gate's clock beyond it would end every window of a card elsewhere
DELTA_KEPT_US: Final = ANSWERS_AGE_US  # as long as a decision is computed again with what it rested on
FEATURES_PAUSE_S: Final = 0.05  # between two looks at the log: a fifth of a batch's age
FEATURES_SHOWN_US: Final = 2 * SECOND_US  # a broker shows a commit to all of its readers well within that
FEATURES_RETRY_S_MAX: Final = 30.0  # as the archive's: what may pass is looked at again by then
FEATURES_TRIM_US: Final = HOUR_US  # batches that are older than they are kept for are let go that often
FEATURES_STALLED_US: Final = 2 * MINUTE_US  # a step takes milliseconds, a broker's longest commit 20 s
FEATURES_ROWS_MAX: Final = 200_000  # states of a card at one origin that a memory holds: 200 MiB
FEATURES_SNAPSHOT_CARDS_MAX: Final = CARDS_MAX  # of one site: as many as its window holds; 100 MiB
FEATURES_CARD_AGE_S: Final = 400 * 24 * 60 * 60  # untouched: beyond every window and any dispute
FEATURES_SNAPSHOTS_MAX: Final = 2  # made at a time: seconds of a core each, which deltas need, too
FEATURES_READ_CARDS: Final = 512  # of a store at a time: half a megabyte
DELTAS_WAIT_S: Final = 25.0  # a reader without news is told so before proxies cut it off, which they do at 30 to 60
DELTAS_WAITING_MAX: Final = 2_048  # readers that wait at a time; a CDN makes one of a thousand

# --- The catalogue, and what comes down by it. ---
CATALOGUE_ROLE_BYTES_MAX: Final = MIB  # of one role's file: three thousand targets
CATALOGUE_ROOTS_MAX: Final = 256  # after the pinned one: a rotation a month for twenty years
CATALOGUE_TARGETS_MAX: Final = 2_048  # of one role: three bundles kept need thirty
CATALOGUE_ROOT_US: Final = 365 * DAY_US  # people sign it: once a year is remembered, and two would be forgotten
CATALOGUE_ROLES_US: Final = 90 * DAY_US  # targets and what they delegate to: a quarter, as certificates live
CATALOGUE_SNAPSHOT_US: Final = 7 * DAY_US  # as long as a site may be cut off
CATALOGUE_TIMESTAMP_US: Final = DAY_US  # so late a site finds out that somebody withholds the newest
CATALOGUE_RENEW_PART: Final = 2  # renewed when one part of so many is left: half a day of a broken signer does no harm
ROLLOUT_SITES_MAX: Final = 1_024  # named one by one, as canaries or with pins; more are a ring
MODEL_ARTIFACT_BYTES_MAX: Final = 64 * MIB  # one part of a bundle: a hundred times the largest so far
MODEL_FILES_MAX: Final = 16  # of one bundle: twice what it has
MODEL_BUNDLES_MAX: Final = 512  # in the registry: one a day for more than a year; add none before some are let go
ROLLOUT_BUNDLES_MAX: Final = 64  # in use at a time: stable, candidate, the one before, and pins
ROLLOUT_REFUSED_PARTS: Final = 100  # more than one part of so many that refuse: it is the bundle, not a machine
ROLLOUT_SITES_REPORTING_MAX: Final = 16_384  # as many as are let in, and old names of some
ROLLOUT_WHY_MAX: Final = 500  # letters: a paragraph
MODEL_LIST_MAX: Final = 200  # bundles, changes in one answer
MODELS_TICK_S: Final = 60.0  # between two looks at what ends soon; a tenth of a thousandth of a timestamp's life
MODEL_FETCH_BYTES: Final = MIB  # asked for at a time by a site: so much is fetched again after a cut, and no more
MODEL_READ_BYTES: Final = 256 * KIB  # read and checked at a time

# --- The archive. ---
REPLAY_WINDOW_US: Final = ANSWERS_AGE_US  # as far back as a label still finds its payment, a decision is asked about
ARCHIVE_BATCH_ROWS: Final = 65_536  # sixteen full frames: 45 MB as rows, and a commit's 100 ms are 2 µs a row
ARCHIVE_BATCH_BYTES: Final = 64 * MIB  # so many decisions have two thirds of it; large events end a batch sooner
ARCHIVE_BATCH_AGE_US: Final = 5 * SECOND_US  # so long whoever asks waits; shorter makes files faster than they merge
ARCHIVE_READ_BYTES: Final = 8 * MIB  # of one partition at a time: a full batch is about this, compressed
ARCHIVE_READ_MESSAGES: Final = 64  # of one partition at a time: a live site's frames are small
ARCHIVE_DAY_MIN: Final = 18_262  # 2020-01-01 in days since 1970: nothing of tidegate's is older
ARCHIVE_DAYS_AHEAD: Final = 1  # of the day of a commit: a site's clock may be ahead, a folder for each of its days not
ARCHIVE_DAY_MAX: Final = 47_482  # 2100-01-01 in days since 1970: a site's time beyond it is a fault, not a folder
ARCHIVE_FILES_MAX: Final = 64  # of one day before they are merged: each costs a reader about a millisecond
ARCHIVE_FILE_BYTES: Final = 64 * MIB  # a merged file: an hour of a busy site; larger ones are rewritten too often
ARCHIVE_ROW_GROUP_ROWS: Final = 65_536  # as a batch: merging keeps each group's span of time as short as it was
ARCHIVE_TEND_COMMITS: Final = 16  # so often files are counted: that reads a table's log, a few milliseconds
ARCHIVE_TIDY_US: Final = DAY_US  # what outlived the retention waits no longer than that for its removal
ARCHIVE_TRIM_US: Final = HOUR_US  # a log gives back what is archived: an hour of a busy site is a few hundred MiB
ARCHIVE_STALLED_US: Final = 15 * MINUTE_US  # a step that takes longer hangs: merging a day's files takes seconds
ARCHIVE_PAUSE_S: Final = 0.25  # where the log has nothing new: a site's live wait
ARCHIVE_RETRY_S_MAX: Final = 30.0  # a full disk is looked at by then, and freed disks are found soon
ARCHIVE_CHECKPOINT_COMMITS: Final = 64  # a start reads so many log files at the most
ARCHIVE_PROVEN_COMMITS: Final = 8  # newest ones that a start proves and syncs; one at a time is ever in doubt
ARCHIVE_COMMIT_RETRIES: Final = 3  # another commit came first: merging is the only other one
ARCHIVE_RETENTION_DAYS: Final = 90  # old versions: a training's and a backtest's stay readable for a quarter
ARCHIVE_WINDOW_ROWS: Final = 4 * BACKTEST_BATCH_ROWS  # sorted at a time by who reads: 180 MB
QUERY_ROWS_DEFAULT: Final = 100  # a screen or two
QUERY_ROWS_MAX: Final = 1_000_000  # a file for a spreadsheet; more is work for a program of its own

# --- The stream that shows a site. ---
STREAM_ATTEMPTS_MAX: Final = 12  # with the delays below about 40 s: a site's restart is over by then
STREAM_RETRY_DELAY_S_MIN: Final = 0.05
STREAM_RETRY_DELAY_S_MAX: Final = 5.0  # also what a site may ask for
STREAM_TIMEOUT_S: Final = 10.0  # ten thousand times a decision: the connection is dead
STREAM_LABELS_PENDING_MAX: Final = 1_000_000  # verdicts of weeks not due yet; beyond it new ones are counted as dropped

_BATCH_ITEM_BYTES: Final = 1_000
_LANES: Final = 4

if BATCH_BODY_BYTES_MAX < BATCH_ITEMS_MAX * _BATCH_ITEM_BYTES:
    raise AssertionError("a full batch of large decisions must fit its body bound")
if APPEND_BYTES_MAX < RECORD_BODY_BYTES_MAX + 64 * KIB:
    raise AssertionError("the largest record must fit an append")
if SEGMENT_BYTES < 2 * APPEND_BYTES_MAX:
    raise AssertionError("a segment must hold several of the largest appends")
if COMMIT_PENDING_BYTES_MAX < APPEND_BYTES_MAX:
    raise AssertionError("one append must fit what may wait for a flush")
if JOURNAL_BYTES_MAX < 10 * JOURNAL_RESERVE_BYTES:
    raise AssertionError("the reserve must be a small part of the journal")
if FRAMES_BODY_BYTES_MAX < 4 * FRAME_BYTES_MAX:
    raise AssertionError("a request must hold several of the largest frames")
if FRAME_CANONICAL_BYTES_MAX < APPEND_BYTES_MAX:
    raise AssertionError("the records of the largest append must fit a frame")
if IDEMPOTENCY_AGE_US <= OCCURRED_BEHIND_US_MAX:
    raise AssertionError("a payment handed in after the longest cut must still find its first answer")
if ANSWERS_MAX % ANSWERS_GENERATIONS:
    raise AssertionError("generations share the ids equally")
if ANSWERS_AGE_US < IDEMPOTENCY_AGE_US:
    raise AssertionError("a retry must find its answer for as long as is promised")
if LOG_COMMIT_BYTES_MAX < 8 * LOG_MESSAGE_BYTES_MAX:
    raise AssertionError("a commit must hold many of the largest messages")
if (
    LOG_CURSOR_BYTES_MAX
    < 2 * _LANES * (TIDE_RANGES_MAX + TIDE_BORDERS_KEPT) * TIDE_RANGE_NOTED_BYTES
    + TIDE_ALARM_LOOKS_KEPT * TIDE_LOOK_NOTED_BYTES
    + TIDE_EPOCH_NOTED_BYTES
):
    raise AssertionError("all that is known of an epoch must fit a cursor")
if LOG_COMMIT_BYTES_MAX < LOG_MESSAGE_BYTES_MAX + LOG_CURSOR_BYTES_MAX:
    raise AssertionError("the largest frame and its cursor must fit a commit")
if LOG_TRANSACTION_S_MAX < 2 * LOG_COMMIT_S_MAX:
    raise AssertionError("a transaction must outlast both halves of a commit")
if LOG_OPEN_S_MAX < LOG_TRANSACTION_S_MAX:
    raise AssertionError("an opening must outlast the transaction of the writer before")
if LOG_MESSAGE_BYTES_MAX < 900 * KIB + LOG_KEY_BYTES_MAX:
    raise AssertionError("the largest frame must fit a message")
if DELTA_BATCH_BYTES_MAX + 64 * KIB > LOG_MESSAGE_BYTES_MAX:
    raise AssertionError("the largest batch of deltas must fit a message, also where nothing can be compressed")
if ARCHIVE_RETENTION_DAYS * DAY_US < REPLAY_WINDOW_US:
    raise AssertionError("what a replay may ask for must not have been vacuumed")
if ARCHIVE_FILES_MAX > ARCHIVE_CHECKPOINT_COMMITS:
    raise AssertionError("merging must come no later than the checkpoint that counts on it")
