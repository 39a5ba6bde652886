"""Batches of deltas: their bytes for ever, their bounds, and what is refused."""

import base64
from typing import Any

import numpy as np
import pytest

from tests.deltas import ORIGIN, US, batch
from tidegate.deltas import ROW, ROWS_MAX, DeltaError, DeltaKind, Deltas, Label, uses
from tidegate.frames import Origin
from tidegate.ids import EpochId, GateId, SiteId
from tidegate.limits import DELTA_BATCH_BYTES_MAX, LOG_MESSAGE_BYTES_MAX
from tidegate.records import DECISION

GOLDEN_SHA256 = "6d46a7927de0fb15ae268d03d038252e50ab05971df6ccf52a8f4838feeb4d32"
GOLDEN_WIRE = base64.b85decode(
    b"R7XTHHDWR~F*Rg2Ic736HDNVn1poj5ZAPb(ec<~Qt|pBG&^RS7P^$%(9rn!iDvwAw{_9OLD77#BV7Lh_4gj`NLODRiR%_sdYZmm("
    b"`m0aMKCBKUa3MTOG$7ID))F=?x7^MjVhkSu?Jn6G5*Y>w%rSPFWK3rN{4E7805kwL02EFARJ4LXKn~}~rzE|w<<~q^;Lj{wd3tjO"
    b"!|`vfMAOsKmM<SXZSYY|(=-j+wx(&?S(asE7>0da*R^F?)>TziTWjqkNs{;8yJ?zcM1i0S&QHCd7SCA$5S<XGQ@0u(UH8xtuy%k&"
    b"AN|tlfI>Dd#*QN?PwXBJ!$dHEc^t=aQ540)FboGl5d8bTZ_o3*IgaDrwiKZEiDc<XfMJGLj+er?7MH51?i58)Wm%T5!P)#J3IBw`"
    b"FVgUTB7PGA{|CYk1_*$SsL|Py6cnVSP-9pFkb@*i2NFPJD3L};AO*xikr<hHB_kt-1LYVekNR-Cai5Iee$l3aBKqY6T40@0-T48%"
    b"C}DY%8clEK-k*K9C(e?Edi*%W`UOE-0SJXs)O1KPo~CY-P~6`01345VcyZyzWym4jPJXiWh88$UAAIl2v+cK;asoqh0A8>}4}f-O"
    b"kIzu`PuTPckkM+NxD@@iJTqqB=jth-G+z%JJBL9JV3|s##Nh`"
)


def test_the_bytes_of_a_batch_are_what_they_were_when_they_were_first_sent() -> None:
    assert batch().sha256 == GOLDEN_SHA256
    assert Deltas.from_bytes(GOLDEN_WIRE).canonical == batch().canonical
    assert Deltas.from_bytes(batch().to_bytes()).canonical == batch().canonical


def test_a_batch_tells_apart_what_changes_cards_and_what_was_posted_in_the_cloud() -> None:
    made = batch()
    assert made.of_cards()["kind"].tolist() == [DeltaKind.USE, DeltaKind.USE, DeltaKind.FRAUD, DeltaKind.CLEARED]
    assert made.labels() == (Label("l-1", "m1", "t-1", "fraud", "chargeback", US + 3_000_000, US + 4_000_000),)


def test_a_gate_leaves_out_what_is_its_own_current_epochs() -> None:
    assert len(batch().but(ORIGIN)) == 0
    assert len(batch().but(Origin(SiteId("s1"), GateId("g0"), EpochId("f" * 16)))) == 4


def test_a_use_names_its_terminal_by_the_hash_that_the_gate_counted() -> None:
    rows = batch().rows
    assert rows["terminal_hash"][0] != rows["terminal_hash"][1]
    assert (rows["terminal_hash"][:2] >= 0).all()


def test_no_decisions_are_no_rows() -> None:
    assert len(uses(ORIGIN, np.zeros(0, DECISION))) == 0


def test_the_largest_batch_fits_a_message_of_the_log_even_where_nothing_compresses() -> None:
    noise = np.random.default_rng(7).integers(0, 128, ROWS_MAX * ROW.itemsize, np.uint8).view(ROW)
    noise["kind"], noise["amount_minor"], noise["terminal_hash"] = DeltaKind.USE, 1, 1
    assert noise.nbytes <= DELTA_BATCH_BYTES_MAX
    assert len(Deltas(noise).to_bytes()) < LOG_MESSAGE_BYTES_MAX


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "cut short"),
        (GOLDEN_WIRE[:50], "cut short"),
        (GOLDEN_WIRE[:-1], "fetch the version again"),
        (b"TGF1" + GOLDEN_WIRE[4:], "don't begin"),
        (GOLDEN_WIRE[:4] + b"0" * 16 + GOLDEN_WIRE[20:], "upgrade"),
        (GOLDEN_WIRE[:20] + (ROWS_MAX + 1).to_bytes(4, "little") + GOLDEN_WIRE[24:], "a batch has 1 to"),
        (GOLDEN_WIRE[:20] + bytes(4) + GOLDEN_WIRE[24:], "a batch has 1 to"),
        (GOLDEN_WIRE[:20] + (4).to_bytes(4, "little") + GOLDEN_WIRE[24:], "aren't those"),
        (GOLDEN_WIRE[:24] + bytes(32) + GOLDEN_WIRE[56:], "aren't those"),
        (GOLDEN_WIRE + b"more", "fetch the version again"),
    ],
)
def test_torn_and_foreign_bytes_are_refused_and_told_what_to_do(data: bytes, told: str) -> None:
    with pytest.raises(DeltaError, match=told):
        Deltas.from_bytes(data)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("kind", 9, "upgrade"),
        ("kind", 0, "kind"),
        ("card", b"", "card"),
        ("card", "ü".encode(), "ASCII"),
        ("source", "ü".encode(), "ASCII"),
        ("amount_minor", 0, "less than 1"),
    ],
)
def test_rows_that_no_gate_could_count_are_refused(field: str, value: Any, told: str) -> None:
    rows = batch().rows.copy()
    rows[field][0] = value
    with pytest.raises(DeltaError, match=told):
        Deltas(rows).to_bytes()


@pytest.mark.parametrize("count", [0, ROWS_MAX + 1])
def test_a_batch_is_never_empty_and_never_above_its_bound(count: int) -> None:
    with pytest.raises(DeltaError, match="a batch has 1 to"):
        Deltas(np.zeros(count, ROW)).to_bytes()
